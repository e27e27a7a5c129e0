"""The use cases of targets: the places that components are provisioned into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twin.domain.errors import Conflict, Invalid, NotFound
from twin.domain.near import suggestion
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.domain.targets import Target
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import Store, Tx
from twin.ports.vault import Vault
from twin.service.paging import every
from twin.service.principals import Principal, Request
from twin.service.views import TargetView

VERSION = 1


class Kind(Protocol):
    """Whatever is configured as a target: a provider, or a forge that no component stands on."""

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field, if the target cannot be right."""
        ...


class Targets:
    """Adds, lists and removes targets; their credentials are sealed under the entity `platform`. `kinds` by the name of
    their provider or forge."""

    def __init__(self, store: Store, vault: Vault, kinds: Mapping[str, Kind]) -> None:
        self._store = store
        self._vault = vault
        self._kinds = kinds

    async def put(self, target: Target, credentials: Mapping[str, str], request: Request) -> TargetView:
        """Add or replace a target. Needs admin. Raises `Invalid` naming the field; makes no contact with the server."""
        request.by.require("admin", "*")
        if target.provider not in self._kinds:
            raise Invalid(
                f"provider is {target.provider!r}, which is not installed",
                field="provider",
                mend=suggestion(target.provider, self._kinds),
            )
        if target.name.partition("/")[0] != target.provider or not target.name.partition("/")[2]:
            raise Invalid(
                f"name is {target.name!r}; a target is named PROVIDER/PLACE",
                field="name",
                mend=f"For example: {target.provider}/eu-prod.",
            )
        self._kinds[target.provider].check(target, credentials)
        fact = Fact(what="target_added", details={"name": target.name, "config": target.config})
        sealed = {
            name: self._vault.seal(PLATFORM_ID, target.name, VERSION, name, value)
            for name, value in credentials.items()
        }

        def keep(tx: Tx) -> None:
            present = {each.name: each for each in tx.targets()}.get(target.name)
            held = self._unsealed(tx, target.name)
            if present == target and held == dict(credentials):
                return  # a restart with the same settings is no news
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            tx.put_target(target)
            tx.drop_secrets(PLATFORM_ID, target.name)
            for name, value in sealed.items():
                tx.put_secret(PLATFORM_ID, target.name, VERSION, name, value)

        await self._store.transact(keep)
        return _view(target, tuple(sealed))

    async def all(self, by: Principal) -> tuple[TargetView, ...]:
        """All targets with the names of their credentials. Needs viewer of some project."""
        by.require_some("viewer")

        def look(tx: Tx) -> tuple[TargetView, ...]:
            return tuple(_view(each, tuple(tx.secrets(PLATFORM_ID, each.name))) for each in tx.targets())

        return await self._store.transact(look)

    async def remove(self, name: str, request: Request) -> None:
        """Remove a target that no living environment stands on, and no preview source has as its forge. Needs admin."""
        request.by.require("admin", "*")
        users = await self._users(name)
        if users:
            raise Conflict(
                f"target {name} is used by {', '.join(users[:5])}{' …' if len(users) > 5 else ''}",
                field="name",
                mend="Destroy those environments, or remove those preview sources, first; or add a target of the same "
                "name that reaches the same server.",
            )

        def drop(tx: Tx) -> bool:
            found = tx.drop_target(name)
            if found:
                tx.drop_secrets(PLATFORM_ID, name)
                tx.transition(
                    PLATFORM.kind, PLATFORM_ID, Fact(what="target_removed", details={"name": name}), request.cause
                )
            return found

        if not await self._store.transact(drop):
            raise NotFound(f"there is no target {name!r}", field="name")

    async def _users(self, name: str) -> list[str]:
        users: list[str] = []
        async for row in every(self._store, ENVIRONMENT.kind):
            env = row.state
            if name in env.placements or any(c.target == name for c in env.desired.components.values()):
                users.append(f"{row.project}/{row.name}")
        sources = every(self._store, PREVIEW_SOURCE.kind, labels={"forge": name})
        return users + [f"preview source {row.name}" async for row in sources]

    def _unsealed(self, tx: Tx, target: str) -> dict[str, str]:
        return {
            name: self._vault.unseal(PLATFORM_ID, target, version, name, sealed)
            for name, (version, sealed) in tx.secrets(PLATFORM_ID, target).items()
        }


def _view(target: Target, credentials: tuple[str, ...]) -> TargetView:
    return TargetView(
        name=target.name,
        provider=target.provider,
        config=target.config,
        credentials=credentials,
        projects=target.projects,
        tiers=target.tiers,
        default=target.default,
        concurrency=target.concurrency,
        rate=target.rate,
    )

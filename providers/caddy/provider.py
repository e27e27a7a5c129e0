"""Caddy: what happens in the world, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from msgspec.structs import replace

from providers.caddy.accounts import Accounts, fresh_hashes, user_of
from providers.caddy.client import JsonRoute, Server
from providers.caddy.routes import digest, is_in, is_of, let_in, note_of, noted, placed, written
from providers.caddy.spec import PROVIDER, TYPES, Credentials, Route, TargetConfig, read, read_config, route
from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.domain.targets import Target
from twin.ports.provider import Applied, Observed, Resource, StepContext


class CaddyProvider:
    """One HTTP server of one Caddy. Opens a connection per call and keeps none."""

    def __init__(self, target: Target, config: TargetConfig) -> None:
        self._target = target
        self._config = config
        self.server = Server(target.name, config)

    async def identify(self) -> Placement:
        """The admin API with the server within, and what Caddy keeps in its storage."""
        return Placement(target=self._target.name, endpoint=self.server.endpoint, identity=await self.server.identity())

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """The route, in one change, under which no request is lost; it serves when this returns. Whom it lets in by an
        other password than those that live now is let in still."""

        def with_live(found: Accounts, fresh: Mapping[int, str]) -> Accounts:
            return found.with_live(_passwords(step), fresh)

        return await self._put(ref, step, with_live)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """An account for the newest password beside the others."""
        return await self.apply(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """Take the password's account out. Caddy runs the new configuration when it answers, and has ended what was
        open under the old; each request of HTTP brings its password along."""

        def without(found: Accounts, fresh: Mapping[int, str]) -> Accounts:
            live = _passwords(step)
            return found.with_live(live, fresh).without(version, live)

        await self._put(ref, step, without)
        if version in let_in(await self.server.routes(), ref.name).hashes:
            raise Transient(f"{self._target.name} still lets credential {version} of {ref.name} in")

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """The route, compared with `inputs` and with how the twin left it."""
        found = [each for each in await self.server.routes() if is_of(each, ref.name)]
        if not found:
            return None
        wanted = self._wanted(inputs)
        return Observed(
            external_id=ref.name,
            outputs=self._outputs(wanted, let_in(found, ref.name).newest),
            drift=_drift(ref, found[0], wanted, len(found)),
        )

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Take the route out; requests that it has begun are answered."""
        await self.server.change(lambda routes: [each for each in routes if not is_of(each, ref.name)])

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Routes by their mark, or by their name."""
        for place, each in enumerate(await self.server.routes()):
            if is_in(each, environment):
                note = note_of(each)
                name = str(each.get("@id") or note.get("name"))
                yield Resource(
                    kind="caddy.route",
                    external_id=name,
                    detail=str(note.get("mark", "by its name")),
                    removal=self.server.removal(each, place),
                )

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its call."""

    def _wanted(self, inputs: Mapping[str, Any]) -> Route:
        wanted = route(inputs, self._config.domain)
        if wanted.access != "token":
            return wanted
        if (twin := self._config.twin) is None:
            raise Blocked(
                f"A route asks the twin who may enter, and {self._target.name} does not say where the twin is.",
                key=f"{self._target.name}/twin",
                mend=f"twin target add {self._target.name} with what it has, and --config twin=http://HOST:PORT",
            )
        return replace(wanted, twin=twin, login=self._config.login or twin)

    async def _put(
        self, ref: ComponentRef, step: StepContext, to: Callable[[Accounts, Mapping[int, str]], Accounts]
    ) -> Applied:
        wanted = self._wanted(step.inputs)
        basic = wanted.access == "basic"
        # Beforehand, and not in the loop: it costs time, and the hashes that stand may do.
        fresh = await asyncio.to_thread(fresh_hashes, _passwords(step)) if basic else {}

        def edit(routes: list[JsonRoute]) -> list[JsonRoute]:
            found = let_in(routes, ref.name)
            accounts = to(found, fresh) if basic else Accounts({}, found.since)
            if basic and step.version < found.since:
                raise Terminal(
                    f"credential {step.version} of {ref.name} has been retired and is not made valid again",
                    mend="rotate the component's credentials",
                )
            return placed(routes, ref, written(ref, wanted, accounts), wanted.host)

        await self.server.change(edit)
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(wanted, step.version),
            secrets={"password": step.secrets["password"]},
        )

    def _outputs(self, wanted: Route, version: int) -> dict[str, Any]:
        user = user_of(version) if wanted.access == "basic" else ""
        return {"url": self._config.url(wanted.host), "host": wanted.host, "user": user}


class CaddyKind:
    """The provider before it has a target."""

    name = PROVIDER
    types = TYPES

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field. No I/O."""
        read_config(target.config)
        read(Credentials, credentials, "credentials")

    def open(self, target: Target, credentials: Mapping[str, str]) -> CaddyProvider:
        """A provider for this target."""
        return CaddyProvider(target, read_config(target.config))


def _passwords(step: StepContext) -> dict[int, str]:
    return {version: secrets["password"] for version, secrets in step.live.items()}


def _drift(ref: ComponentRef, found: JsonRoute, wanted: Route, count: int) -> dict[str, str]:
    note = note_of(found)
    drift = {}
    if note.get("mark") != ref.mark:
        drift["mark"] = f"the mark is {note.get('mark')!r} instead of {ref.mark!r}"
    has, want = note.get("inputs") or {}, noted(wanted)
    for field, value in want.items():
        if has.get(field) != value:
            drift[field] = f"{field} is {_told(has.get(field))} instead of {_told(value)}"
    if count > 1:
        drift["route"] = f"there are {count} routes of it"
    elif found.get("@id") != ref.name or note.get("digest") != digest(found):
        drift["route"] = "it was changed by hand"
    return drift


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) or "nobody" if isinstance(value, list) else str(value)

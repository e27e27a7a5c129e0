"""Personal access: who has a place in an environment, where it is granted, and the credentials of one person.

A token stands for the person of its name: the member `ada` is whoever asks with the token `ada`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from twin.domain.environment import Environment, Instance
from twin.domain.errors import Forbidden, NotFound, Rejected
from twin.domain.members import ME, SECRET, access_of, members, without_ended
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import EntityRow, Store, Tx
from twin.ports.vault import Vault
from twin.service.client_variables import client_variables, parts
from twin.service.entrances import access_of_person, leaving, offering, waits
from twin.service.principals import Principal, Request
from twin.service.views import EnvironmentMemberView, PersonalCredentials


class PersonalAccess:
    """Who may enter an environment as themselves, and how."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def all(self, environment_id: str, by: Principal) -> tuple[EnvironmentMemberView, ...]:
        """Everybody with a place there, by name, and who has lost it and perhaps still has access; what the environment
        says of a person wins over its project. Needs viewer."""
        env: Environment = (await self._row(environment_id, by)).state
        if env.certificate is not None:
            return ()
        known, left = members(env), leaving(env)
        return tuple(
            EnvironmentMemberView(
                name=name,
                role=known[name].role if name in known else left[name],
                until=known[name].until if name in known else None,
                of=_of(env, name),
                access=access_of_person(env, name),
                waits=waits(env, name),
            )
            for name in sorted(known.keys() | left.keys())
        )

    async def reveal(self, environment_id: str, person: str, request: Request) -> PersonalCredentials:
        """The personal credentials of a member, as variables: `me` is whoever asks. Those of another only an admin of
        the project sees. Recorded with the person's name on the platform's chain.

        Raises `Forbidden` (not_a_member) and, as long as no access is granted, `Rejected` (not_ready)."""
        row = await self._row(environment_id, request.by)
        name = request.by.name if person == ME else person
        if name != request.by.name and not request.by.may("admin", row.project):
            raise Forbidden(
                f"the personal credentials of {name} are {name}'s",
                field="name",
                mend=f"Use your own (--as {ME}), or ask an admin of project {row.project}.",
            )

        def reveal(tx: Tx) -> PersonalCredentials:
            env: Environment = tx.state(ENVIRONMENT.kind, environment_id)
            _check_member(env, name, tx.now)
            granted, waiting = self._granted(tx, env, name)
            variables = _variables(granted)
            fact = Fact(
                what="credentials_revealed",
                details={
                    "environment": env.id,
                    "project": env.project,
                    "name": env.name,
                    "person": name,
                    "names": sorted(variables),
                },
            )
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            return PersonalCredentials(
                environment=env.id,
                person=name,
                role=members(env)[name].role,
                variables=variables,
                pending=tuple(waiting),
            )

        return await self._store.transact(reveal)

    async def _row(self, environment_id: str, by: Principal) -> EntityRow:
        row = await self._store.entity(ENVIRONMENT.kind, environment_id)
        if row is None or not by.may("viewer", row.project):
            raise NotFound(f"there is no environment {environment_id!r}", field="environment")
        return row

    def _granted(self, tx: Tx, env: Environment, person: str) -> tuple[dict[str, dict[str, str]], list[str]]:
        """The person's secrets by component, and the components where they have no access yet."""
        offered = list(offering(env))
        if not offered:
            raise Rejected(
                f"no component of {env.project}/{env.name} gives people access of their own",
                code="no_personal_access",
                mend=f"The app's credentials: twin run {env.project}/{env.name} -- COMMAND",
            )
        found: dict[str, dict[str, str]] = {}
        waiting = []
        for name, instance in offered:
            secrets = self._secrets(tx, env, instance, person) if instance is not None else {}
            if secrets.keys() - {SECRET}:  # the password is minted before it is granted
                found[name] = secrets
            else:
                waiting.append(name)
        if not found:
            raise Rejected(
                f"{person} has no access to {env.project}/{env.name} yet: {', '.join(waiting)} must grant it first",
                code="not_ready",
                mend=f"See what it waits for: twin show {env.project}/{env.name}",
            )
        return found, waiting

    def _secrets(self, tx: Tx, env: Environment, instance: Instance, person: str) -> dict[str, str]:
        place = access_of(instance.key)
        return {
            secret: self._vault.unseal(env.id, place, version, name, sealed)
            for name, (version, sealed) in tx.secrets(env.id, place).items()
            for of, _, secret in [name.partition("/")]
            if of == person
        }


def _check_member(env: Environment, person: str, now: datetime) -> None:
    if env.certificate is not None:
        raise Rejected(f"{env.project}/{env.name} is destroyed: its secrets are gone", code="destroyed")
    if person not in without_ended(members(env), now):
        raise Forbidden(
            f"{person} is no member of {env.project}/{env.name}",
            code="not_a_member",
            field="name",
            mend=f"Ask an operator of project {env.project}: twin member add {env.project}/{env.name} {person}",
        )


def _of(env: Environment, person: str) -> Literal["environment", "project", "nobody"]:
    if person in env.desired.members:
        return "environment"
    return "project" if person in env.desired.project_members else "nobody"


def _variables(granted: dict[str, dict[str, str]]) -> dict[str, str]:
    """COMPONENT_SECRET for each secret, what stands in the URL apart, and what clients read by themselves."""
    found: dict[str, str] = {}
    for component, secrets in granted.items():
        for name, value in {**parts(secrets.get("url", "")), **secrets}.items():
            found[f"{component}_{name}".upper().replace("-", "_")] = value
    urls = [secrets["url"] for secrets in granted.values() if "url" in secrets]
    return {**client_variables(urls), **found}

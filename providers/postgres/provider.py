"""PostgreSQL: what happens in the world, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from providers.postgres import access, copying, inventory, names, rights, roles, staging
from providers.postgres.client import Server, Session
from providers.postgres.drift import access_drift, database_drift, extension_drift, newest, role_drift
from providers.postgres.spec import PROVIDER, TYPES, Credentials, DatabaseInputs, TargetConfig
from twin.domain.errors import Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark
from twin.domain.targets import Target
from twin.ports.provider import Applied, Member, Observed, Resource, Seeded, Source, StepContext

S = TypeVar("S", bound=msgspec.Struct)


class PostgresProvider:
    """One server. Opens a connection per call and keeps none."""

    def __init__(self, target: Target, config: TargetConfig, credentials: Credentials) -> None:
        self._target = target
        self._config = config
        self._server = Server(target.name, config, credentials.password)

    async def identify(self) -> Placement:
        """Host and port, and the cluster's system identifier."""
        endpoint = _endpoint(self._config.host, self._config.port)
        async with self._server.session() as pg:
            identity = await pg.identity()
        # Where a hosted server hides its identifier, the address is the best stable name that there is.
        return Placement(target=self._target.name, endpoint=endpoint, identity=identity or endpoint)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Roles, database, limit, extensions, in this order; from suspended too. People are let in by `grant` alone."""
        inputs = _inputs(step.inputs)
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await self._ensure_roles(pg, ref, step)
            await step.heartbeat("the roles stand")
            await pg.ensure_database(ref.name, encoding=inputs.encoding, locale=inputs.locale, mark=ref.mark)
            await pg.ensure_connection_limit(ref.name, inputs.connections)
            await pg.ensure_open(ref.name)
            await step.heartbeat("the database stands")
            await access.ensure_as_noted(pg, ref)
            async with self._server.session(ref.name) as inside:
                await self._ensure_tidy(pg, inside, ref)
                await inside.ensure_extensions(ref.name, inputs.extensions)
        return self._applied(ref, step)

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """The database and its roles, compared with `inputs`."""
        wanted = _inputs(inputs)
        installed: set[str] | None = None
        ours: list[str] = []
        lacking: list[rights.Missing] = []
        async with self._server.session() as pg:
            database = await pg.database(ref.name)
            owner = await roles.role(pg, ref.name)
            found = {name: await roles.role(pg, name) for name in names.logins(ref)}
            groups, members = await access.groups(pg, ref), await access.members(pg, ref)
        if database is None and owner is None:
            return None
        if database is not None and database.open and not database.invalid:
            async with self._server.session(ref.name) as inside:
                installed = await inside.extension_names()
                ours = await inside.extensions(owner=ref.name)
                if len(groups) == len(names.groups(ref)):
                    lacking = await rights.missing(inside, ref)
        logins = {name: state for name, state in found.items() if state is not None}
        drift = database_drift(ref, database, wanted) | role_drift(ref, owner, logins)
        if installed is not None:
            drift |= extension_drift(installed, ours, wanted) | access_drift(ref, groups, members, lacking)
        outputs = self._outputs(ref, newest(ref, logins) or ref.name)
        return Observed(external_id=ref.name, outputs=outputs, drift=drift)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """A login role for the newest credential, beside the one before it."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await self._ensure_roles(pg, ref, step)
        return self._applied(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """Close that version's login, end its sessions, and see the server refuse its password."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await roles.retire(pg, ref, version)
            await step.heartbeat("the login is closed")
            await roles.prove_refused(self._server, pg, ref, version, secrets["password"])
            database = await pg.database(ref.name)
            if database is not None and database.open:
                async with self._server.session(ref.name) as inside:
                    await self._ensure_tidy(pg, inside, ref)

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """A role per person; who is not named has none any more. Nobody enters what is suspended."""
        given = {}
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await step.heartbeat(f"{len(members)} people are to have access")  # who waited too long stops here
            database = await pg.database(ref.name)
            await access.end_others(pg, ref, [member.name for member in members])
            if database is None or database.invalid:
                if not members:
                    return {}
                raise Transient(f'database "{ref.name}" does not stand: this attempt came too early or too late')
            if members:
                await access.ensure_groups(pg, ref)
            if database.open:
                async with self._server.session(ref.name) as inside:
                    await self._ensure_tidy(pg, inside, ref)
            for member in members:
                user = await access.ensure_member(pg, ref, member, enters=database.open)
                password = member.secrets["password"]
                given[member.name] = {"url": self._url(ref, user, password), "password": password}
        return given

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """A copy of another database, of this server or another, closed until the first apply."""
        if not isinstance(source.provider, PostgresProvider):
            raise Terminal("a PostgreSQL database can be a copy of a PostgreSQL database only")
        return await copying.seed(self._server, source.provider._server, ref, step, source, _inputs(step.inputs))

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Close the database and its roles and end what is connected; the data stays."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await roles.ensure_suspended(pg, ref)
            await access.ensure_suspended(pg, ref)
            await pg.ensure_closed(ref.name)

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Drop the database, whoever uses it, then its roles."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await roles.ensure_suspended(pg, ref)
            await access.ensure_suspended(pg, ref)
            await staging.clear(pg, ref)
            await pg.drop_database(ref.name)
            await step.heartbeat("the database is dropped")
            await access.drop(pg, ref)
            await roles.drop(pg, ref)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Databases and roles with the environment's mark or one of its prefixes."""
        async with self._server.session() as pg:
            found = await inventory.owned(pg, mark=ownership_mark(environment), prefixes=names.prefixes(environment))
        for each in found:
            yield Resource(
                kind=each.kind,
                external_id=each.name,
                detail=each.mark or "without the mark, by its name",
                removal=inventory.by_hand(self._config, each),
            )

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its call."""

    async def _ensure_roles(self, pg: Session, ref: ComponentRef, step: StepContext) -> None:
        live = step.live
        await roles.ensure_owner(pg, ref, live[min(live)]["password"])
        for version, secrets in live.items():
            if not await roles.ensure_login(pg, ref, version, secrets["password"]) and version == step.version:
                raise Transient(f"credential {version} has ended, or a later one stands: this attempt came too late")

    async def _ensure_tidy(self, pg: Session, inside: Session, ref: ComponentRef) -> None:
        """`inside` the component's database, everything belongs to the owner, ended roles are gone, people have their
        rights."""
        await roles.ensure_tidy(pg, inside, ref)
        await access.ensure_tidy(pg, inside, ref)
        if await access.groups(pg, ref):
            await access.ensure_groups(pg, ref)
            await rights.ensure(inside, ref)

    def _applied(self, ref: ComponentRef, step: StepContext) -> Applied:
        user, password = names.login(ref, step.version), step.live[step.version]["password"]
        secrets = {"url": self._url(ref, user, password), "password": password}
        return Applied(external_id=ref.name, outputs=self._outputs(ref, user), secrets=secrets)

    def _url(self, ref: ComponentRef, user: str, password: str) -> str:
        endpoint = _endpoint(self._config.host, self._config.port)
        return f"postgresql://{user}:{quote(password, safe='')}@{endpoint}/{ref.name}"

    def _outputs(self, ref: ComponentRef, user: str) -> dict[str, Any]:
        return {"host": self._config.host, "port": self._config.port, "database": ref.name, "user": user}


class PostgresKind:
    """The provider before it has a target."""

    name = PROVIDER
    types = TYPES

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field. No I/O."""
        _read(TargetConfig, target.config, "config")
        _read(Credentials, credentials, "credentials")

    def open(self, target: Target, credentials: Mapping[str, str]) -> PostgresProvider:
        """A provider for this target."""
        return PostgresProvider(
            target, _read(TargetConfig, target.config, "config"), _read(Credentials, credentials, "credentials")
        )


def _inputs(inputs: Mapping[str, Any]) -> DatabaseInputs:
    try:
        return msgspec.convert(dict(inputs), DatabaseInputs)
    except msgspec.ValidationError as error:
        message, field = _located(error)
        raise Terminal(f"postgres.database: {message}", field=field) from None


def _read(struct: type[S], values: Mapping[str, Any], where: str) -> S:
    try:
        return msgspec.convert(dict(values), struct)
    except msgspec.ValidationError as error:
        message, field = _located(error)
        raise Invalid(f"postgres {where}: {message}", field=f"{where}.{field}" if field else where) from None


def _located(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """msgspec's message, which never holds the value, and the field that it is about."""
    message, _, path = str(error).partition(" - at `$.")
    if path:
        return message, path.removesuffix("`")
    quoted = message.split("`")
    return message, quoted[1] if "field" in message and len(quoted) > 1 else None


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

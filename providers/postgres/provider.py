"""PostgreSQL: what happens in the world, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from providers.postgres.client import DatabaseState, RoleState, Server
from providers.postgres.spec import PROVIDER, TYPES, Credentials, DatabaseInputs, TargetConfig
from twin.domain.errors import Invalid, Terminal
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark, physical_name
from twin.domain.targets import Target
from twin.ports.provider import Applied, Observed, Resource, StepContext

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
        """Role, database, limit, extensions, in this order; from suspended too."""
        inputs = _inputs(step.inputs)
        password = step.secrets["password"]
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await pg.ensure_role(ref.name, password=password, mark=ref.mark)
            await step.heartbeat("the role stands")
            await pg.ensure_database(ref.name, encoding=inputs.encoding, locale=inputs.locale, mark=ref.mark)
            await pg.ensure_connection_limit(ref.name, inputs.connections)
            await pg.ensure_open(ref.name)
            await step.heartbeat("the database stands")
            async with self._server.session(ref.name) as inside:
                await inside.ensure_extensions(ref.name, inputs.extensions)
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(ref),
            secrets={"url": self._url(ref, password), "password": password},
        )

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """The database and its role, compared with `inputs`."""
        wanted = _inputs(inputs)
        installed: set[str] | None = None
        ours: list[str] = []
        async with self._server.session() as pg:
            database = await pg.database(ref.name)
            role = await pg.role(ref.name)
        if database is None and role is None:
            return None
        if database is not None and database.open and not database.invalid:
            async with self._server.session(ref.name) as inside:
                installed = await inside.extension_names()
                ours = await inside.extensions(owner=ref.name)
        drift = _database_drift(ref, database, wanted) | _role_drift(ref, role)
        if installed is not None:
            drift |= _extension_drift(installed, ours, wanted)
        return Observed(external_id=ref.name, outputs=self._outputs(ref), drift=drift)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Close the database and its role and end what is connected; the data stays."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await pg.ensure_closed(ref.name)

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Drop the database, whoever uses it, then its role."""
        async with self._server.session() as pg:
            await pg.lock(ref.name)
            await pg.drop_database(ref.name)
            await step.heartbeat("the database is dropped")
            await pg.drop_role(ref.name)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Databases and roles with the environment's mark or its prefix."""
        prefix = physical_name(environment, "", 0).removesuffix("_0")
        async with self._server.session() as pg:
            found = await pg.owned(mark=ownership_mark(environment), prefix=prefix)
        for each in found:
            yield Resource(kind=each.kind, external_id=each.name, detail=each.mark or "without the mark, by its name")

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its call."""

    def _outputs(self, ref: ComponentRef) -> dict[str, Any]:
        return {"host": self._config.host, "port": self._config.port, "database": ref.name, "user": ref.name}

    def _url(self, ref: ComponentRef, password: str) -> str:
        endpoint = _endpoint(self._config.host, self._config.port)
        return f"postgresql://{ref.name}:{quote(password, safe='')}@{endpoint}/{ref.name}"


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


def _database_drift(ref: ComponentRef, state: DatabaseState | None, wanted: DatabaseInputs) -> dict[str, str]:
    if state is None:
        return {"database": f'database "{ref.name}" does not exist'}
    if state.invalid:
        return {"database": f'a DROP of database "{ref.name}" was interrupted; what it held is lost'}
    drift = {}
    if state.connections != wanted.connections:
        has = "any number of" if state.connections < 0 else state.connections
        drift["connections"] = f"the database accepts {has} connections instead of {wanted.connections}"
    for field, has, want in (("encoding", state.encoding, wanted.encoding), ("locale", state.locale, wanted.locale)):
        if has != want:
            drift[field] = f"the database has {field} {has} instead of {want}"
    if state.owner != ref.name:
        drift["owner"] = f'the database belongs to role "{state.owner}" instead of "{ref.name}"'
    if state.public:
        drift["access"] = "every role of the server may connect to the database"
    if state.mark != ref.mark:
        drift["mark"] = f"the comment on the database is {state.mark!r} instead of {ref.mark!r}"
    if not state.open:
        drift["suspended"] = "the database accepts no connections"
    return drift


def _role_drift(ref: ComponentRef, state: RoleState | None) -> dict[str, str]:
    if state is None:
        return {"role": f'role "{ref.name}" does not exist'}
    if state.powers:
        return {"role": f'role "{ref.name}" has {", ".join(state.powers)}'}
    if not state.login:
        return {"login": f'role "{ref.name}" may not log in'}
    return {}


def _extension_drift(installed: set[str], ours: list[str], wanted: DatabaseInputs) -> dict[str, str]:
    missing = [name for name in wanted.extensions if name not in installed]
    extra = [name for name in ours if name not in wanted.extensions]
    parts = []
    if missing:
        parts.append(f"not installed: {', '.join(missing)}")
    if extra:
        parts.append(f"installed but not asked for: {', '.join(extra)}")
    return {"extensions": "; ".join(parts)} if parts else {}


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

"""The PostgreSQL provider against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from providers.local import LocalServers
from providers.postgres import KIND, names, roles
from providers.postgres.client import Server, Session
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE, TargetConfig
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.conformance.rotation import RotationConformance
from twin.testing.steps import make_ref, make_step

Opened = tuple[Target, dict[str, str]]


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    """The local server, worked on by a role that is no superuser."""
    local_servers.start("postgres")
    return next(each for each in local_servers.targets() if each[0].provider == "postgres")


@pytest.fixture(scope="session")
def directory(local_servers: LocalServers, opened: Opened) -> Path:
    """Where the local server keeps its log and its superuser's password."""
    return next(status.directory for status in local_servers.status() if status.kind == "postgres")


@pytest.fixture
def root(opened: Opened, directory: Path) -> Opened:
    """The same server, worked on by its superuser."""
    password = (directory / "superuser.password").read_text().strip()
    return changed(opened[0], user="postgres"), {"password": password}


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[PostgresProvider]:
    provider = KIND.open(*opened)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: PostgresProvider) -> AsyncIterator[ComponentRef]:
    """A component that is removed after the test."""
    ref = make_ref("db", type=DATABASE.name)
    yield ref
    await provider.remove(ref, make_step())


@pytest.fixture
async def pg(opened: Opened) -> AsyncIterator[Session]:
    """The client's session in the maintenance database."""
    async with server(opened).session() as session:
        yield session


def changed(target: Target, **config: Any) -> Target:
    return msgspec.structs.replace(target, config={**target.config, **config})


def server(opened: Opened) -> Server:
    return Server(opened[0].name, msgspec.convert(opened[0].config, TargetConfig), opened[1]["password"])


def step(password: str = "pass word", **inputs: Any) -> Any:
    return make_step(inputs, {"password": password})


async def run(opened: Opened, statement: str, *names: str, database: str | None = None) -> list[tuple[Any, ...]]:
    """A statement by hand, with the target's own credentials; {} are identifiers."""
    config = opened[0].config
    async with await psycopg.AsyncConnection.connect(
        host=config["host"],
        port=config["port"],
        user=config["user"],
        dbname=database or config["database"],
        password=opened[1]["password"],
        autocommit=True,
    ) as connection:
        cursor = await connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
        return await cursor.fetchall() if cursor.description else []


async def query(applied: Applied, statement: str) -> list[tuple[Any, ...]]:
    """A statement of the app, by the URL it was given."""
    async with await psycopg.AsyncConnection.connect(applied.secrets["url"], autocommit=True) as connection:
        cursor = await connection.execute(statement)  # type: ignore[call-overload]
        return await cursor.fetchall() if cursor.description else []


class Suite(ProviderConformance, RotationConformance):
    """What superuser and mere owner of CREATEDB and CREATEROLE both must achieve."""

    component_type = DATABASE
    opened: Opened

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"connections": 10 + 10 * n, "extensions": ["vector"]}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        await query(applied, "CREATE TABLE IF NOT EXISTS proof (v vector(2))")
        await query(applied, "INSERT INTO proof VALUES ('[1,2]')")

    async def put(self, applied: Applied, value: str) -> None:
        await query(applied, "CREATE TABLE IF NOT EXISTS kept (value text); TRUNCATE kept")
        await query(applied, f"INSERT INTO kept VALUES ('{value}')")

    async def get(self, applied: Applied) -> str | None:
        if (await query(applied, "SELECT to_regclass('kept')"))[0][0] is None:
            return None
        return str((await query(applied, "SELECT value FROM kept"))[0][0])

    def is_refusal(self, error: Exception) -> bool:
        return isinstance(error, psycopg.OperationalError) and (
            "authentication failed" in str(error) or "not permitted to log in" in str(error)
        )

    @asynccontextmanager
    async def session(self, applied: Applied) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        async with await psycopg.AsyncConnection.connect(applied.secrets["url"], autocommit=True) as connection:
            yield partial(connection.execute, "SELECT 1")

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        def by_hand(statement: str, *, inside: bool = False) -> Callable[[Applied], Awaitable[None]]:
            async def damage(applied: Applied) -> None:
                await run(
                    self.opened,
                    statement,
                    *[applied.external_id] * statement.count("{}"),
                    database=applied.external_id if inside else None,
                )

            return damage

        def on_login(statement: str) -> Callable[[Applied], Awaitable[None]]:
            async def damage(applied: Applied) -> None:
                await run(self.opened, statement, applied.outputs["user"])

            return damage

        return {
            "a limit set by hand": by_hand("ALTER DATABASE {} CONNECTION LIMIT 3"),
            "an owner that may log in": by_hand("ALTER ROLE {} LOGIN"),
            "a login role that may not log in": on_login("ALTER ROLE {} NOLOGIN"),
            "a login role that does not become the owner": on_login("ALTER ROLE {} RESET role"),
            "a lost credential": on_login("COMMENT ON ROLE {} IS NULL"),
            "a dropped login role": on_login("DROP ROLE {}"),
            "an open door": by_hand("GRANT CONNECT ON DATABASE {} TO PUBLIC"),
            "a lost mark": by_hand("COMMENT ON DATABASE {} IS NULL"),
            "a dropped extension": by_hand("DROP EXTENSION vector CASCADE; DROP TABLE IF EXISTS proof", inside=True),
            "a dropped database": by_hand("DROP DATABASE {}"),
        }

    def unreachable(self) -> PostgresProvider:
        return KIND.open(changed(self.opened[0], port=1), self.opened[1])

    def refused(self) -> PostgresProvider:
        return KIND.open(self.opened[0], {"password": "wrong"})


class TestAsOwner(Suite):
    """The twin as a role with CREATEDB and CREATEROLE, as it should be."""

    @pytest.fixture
    async def provider(self, opened: Opened) -> AsyncIterator[PostgresProvider]:
        self.opened = opened
        self.credentials = opened[1]
        provider = KIND.open(*opened)
        yield provider
        await provider.close()


class TestAsSuperuser(Suite):
    """The twin as a superuser."""

    cuts = 2

    @pytest.fixture
    async def provider(self, root: Opened) -> AsyncIterator[PostgresProvider]:
        self.opened = root
        self.credentials = root[1]
        provider = KIND.open(*root)
        yield provider
        await provider.close()


async def test_each_ensure_may_be_called_twice(pg: Session, opened: Opened, ref: ComponentRef) -> None:
    for _ in range(2):
        await roles.ensure_owner(pg, ref, "p")
        assert await roles.ensure_login(pg, ref, 1, "p")
    for _ in range(2):
        await pg.ensure_database(ref.name, encoding="UTF8", locale="C.UTF-8", mark=ref.mark)
    state = await pg.database(ref.name)
    assert state is not None
    assert not state.open, "nobody enters a database that is not finished"
    for _ in range(2):
        await pg.ensure_connection_limit(ref.name, 7)
    for _ in range(2):
        await pg.ensure_open(ref.name)
    async with server(opened).session(ref.name) as inside:
        for names in (["vector"], ["vector"], [], []):
            await inside.ensure_extensions(ref.name, names)
            assert await inside.extensions(owner=ref.name) == names
    state = await pg.database(ref.name)
    assert state is not None
    assert (state.owner, state.connections, state.open, state.public) == (ref.name, 7, True, False)
    for _ in range(2):
        await pg.ensure_closed(ref.name)
    for _ in range(2):
        await pg.drop_database(ref.name)
    for _ in range(2):
        await roles.drop(pg, ref)
    assert (await pg.database(ref.name), await roles.role(pg, ref.name)) == (None, None)


async def test_a_role_with_createdb_and_createrole_and_nothing_more_is_enough(opened: Opened, root: Opened) -> None:
    await run(root, "CREATE ROLE plain LOGIN CREATEDB CREATEROLE PASSWORD 'plain'")
    await run(root, "GRANT CONNECT ON DATABASE postgres TO plain")
    provider, ref = KIND.open(changed(opened[0], user="plain"), {"password": "plain"}), make_ref(type=DATABASE.name)
    try:
        applied = await provider.apply(ref, step(extensions=["vector"]))
        async with await psycopg.AsyncConnection.connect(applied.secrets["url"]):
            await provider.suspend(ref, step())
        applied = await provider.apply(ref, step(extensions=[]))
        async with await psycopg.AsyncConnection.connect(applied.secrets["url"]):
            await provider.remove(ref, step())
        assert [each async for each in provider.owned(ref.environment)] == []
    finally:
        await KIND.open(*root).remove(ref, step())
        await run(root, "DROP OWNED BY plain; DROP ROLE plain")


async def test_without_createdb_it_is_blocked_and_goes_on_once_granted(
    opened: Opened, root: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await run(root, "ALTER ROLE twin NOCREATEDB")
    try:
        with pytest.raises(Blocked) as blocked:
            await provider.apply(ref, step())
    finally:
        await run(root, "ALTER ROLE twin CREATEDB")
    assert blocked.value.key == "postgres/local/createdb"
    assert blocked.value.owner == "platform"
    assert blocked.value.mend == 'ALTER ROLE "twin" CREATEDB'
    assert 'role "twin" may not create databases' in blocked.value.message
    await query(await provider.apply(ref, step()), "SELECT")


async def test_without_createrole_it_is_blocked(root: Opened, provider: PostgresProvider, ref: ComponentRef) -> None:
    await run(root, "ALTER ROLE twin NOCREATEROLE")
    try:
        with pytest.raises(Blocked) as blocked:
            await provider.apply(ref, step())
    finally:
        await run(root, "ALTER ROLE twin CREATEROLE")
    assert blocked.value.key == "postgres/local/createrole"


async def test_the_identity_survives_a_restart_and_a_stopped_server_is_waited_for(
    local_servers: LocalServers, provider: PostgresProvider, ref: ComponentRef
) -> None:
    before = await provider.identify()
    await asyncio.to_thread(local_servers.stop, "postgres")
    try:
        with pytest.raises(Transient):
            await provider.apply(ref, step())
    finally:
        await asyncio.to_thread(local_servers.start, "postgres")
    assert (await provider.identify()).identity == before.identity


async def test_the_inventory_lists_what_was_left_by_hand_with_the_mark_or_without_it(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await run(opened, "CREATE ROLE {}", ref.name)  # a worker that died before the mark
    await run(opened, "CREATE DATABASE foreign_to_us")
    try:
        await run(opened, f"COMMENT ON DATABASE foreign_to_us IS '{ref.mark}'")
        found = {(each.kind, each.external_id) async for each in provider.owned(ref.environment)}
    finally:
        await run(opened, "DROP DATABASE foreign_to_us")
    assert found == {("postgres.database", "foreign_to_us"), ("postgres.role", ref.name)}


async def test_the_clear_password_is_in_no_catalogue_and_no_log(
    opened: Opened, root: Opened, directory: Path, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await run(root, "ALTER ROLE twin SET log_statement = 'all'")
    try:
        await provider.apply(ref, step("open-sesame"))
    finally:
        await run(root, "ALTER ROLE twin RESET log_statement")
    log = (directory / "server.log").read_text()
    assert f'CREATE ROLE "{ref.name}"' in log, "the server did log what it was asked"
    assert "open-sesame" not in log
    (stored,) = (await run(root, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{names.login(ref, 1)}'"))[0]
    assert stored.startswith("SCRAM-SHA-256$")


async def test_an_unknown_extension_is_the_requesters_to_correct(provider: PostgresProvider, ref: ComponentRef) -> None:
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step(extensions=["postgis"]))
    assert terminal.value.field == "extensions"
    assert "postgis" in terminal.value.message


async def test_an_extension_that_needs_a_superuser_is_blocked(
    opened: Opened, root: Opened, pg: Session, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    await run(root, "DROP EXTENSION plpgsql", database=ref.name)
    await run(root, "ALTER DATABASE {} OWNER TO postgres", ref.name)  # so that even a trusted one is refused
    async with server(root).session() as as_root:
        await as_root.ensure_open(ref.name)
    await run(root, "GRANT CONNECT ON DATABASE {} TO twin", ref.name)
    async with server(opened).session(ref.name) as inside:
        with pytest.raises(Blocked) as blocked:
            await inside.ensure_extensions(ref.name, ["vector"])
    await run(root, "ALTER DATABASE {} OWNER TO {}", ref.name, ref.name)
    assert blocked.value.key == "postgres/local/extension-vector"
    assert ref.name in blocked.value.mend


async def test_an_extension_in_use_is_not_dropped(provider: PostgresProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step(extensions=["vector"]))
    await query(applied, "CREATE TABLE items (v vector(2))")
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step(extensions=[]))
    assert terminal.value.field == "extensions"
    assert await query(applied, "SELECT count(*) FROM items") == [(0,)], "and the data are there"


async def test_an_extension_of_the_apps_own_migrations_stays(provider: PostgresProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step())
    await query(applied, "CREATE EXTENSION vector")
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.drift == {}
    await provider.apply(ref, step())
    assert await query(applied, "SELECT '[1,2]'::vector::text") == [("[1,2]",)]


async def test_another_encoding_or_locale_is_never_taken_for_the_same(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step(encoding="LATIN1", locale="C"))
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step())
    assert terminal.value.field == "encoding"
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert set(observed.drift) == {"encoding", "locale"}


async def test_an_unknown_locale_is_the_requesters_to_correct(provider: PostgresProvider, ref: ComponentRef) -> None:
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step(locale="xx_XX.UTF-8"))
    assert terminal.value.field == "locale"


async def test_a_suspended_database_ends_its_connections_and_cannot_be_reopened_by_its_owner(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    applied = await provider.apply(ref, step())
    async with await psycopg.AsyncConnection.connect(applied.secrets["url"], autocommit=True) as connection:
        await provider.suspend(ref, step())
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT")
    with pytest.raises(psycopg.OperationalError):
        await query(applied, "SELECT")
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert "suspended" in observed.drift
    await query(await provider.apply(ref, step()), "SELECT")


async def test_one_environment_cannot_enter_anothers_database(provider: PostgresProvider, ref: ComponentRef) -> None:
    other = make_ref("db", type=DATABASE.name)
    try:
        theirs, ours = await provider.apply(other, step()), await provider.apply(ref, step())
        url = ours.secrets["url"].removesuffix(ref.name) + other.name
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            await query(Applied(external_id="", secrets={"url": url}), "SELECT")
        await query(theirs, "SELECT")
    finally:
        await provider.remove(other, step())


async def test_a_role_that_owns_things_elsewhere_blocks_its_removal_until_they_are_given_away(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    await run(opened, "CREATE DATABASE elsewhere OWNER {}", ref.name)
    try:
        with pytest.raises(Blocked) as blocked:
            await provider.remove(ref, step())
    finally:
        await run(opened, "DROP DATABASE elsewhere")
    assert blocked.value.key == f"postgres/local/role-{ref.name}"
    assert "elsewhere" in blocked.value.message
    await provider.remove(ref, step())
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_a_password_that_no_text_can_hold_fails_without_being_shown(opened: Opened) -> None:
    provider = KIND.open(opened[0], {"password": "nul\x00byte"})
    with pytest.raises((Blocked, Terminal, Transient)) as failure:
        await provider.identify()
    assert "nul" not in failure.value.message


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({"port": 5432}, {"password": "p"}, "config.host"),
        ({"host": "h", "port": 70000, "user": "twin"}, {"password": "p"}, "config.port"),
        ({"host": "h", "user": "twin", "hots": "x"}, {"password": "p"}, "config.hots"),
        ({"host": "h", "user": "twin"}, {}, "credentials.password"),
    ],
)
def test_a_wrong_target_is_refused_by_field_without_any_connection(
    config: dict[str, Any], credentials: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as invalid:
        KIND.check(Target(name="postgres/x", provider="postgres", config=config), credentials)
    assert invalid.value.field == field


def test_what_the_type_tells_the_domain() -> None:
    assert DATABASE.scalable == {"connections"}
    assert DATABASE.immutable == {"encoding", "locale"}
    assert DATABASE.properties["connections"]["x-unit"] == "connections"

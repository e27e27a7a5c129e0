"""The PostgreSQL provider against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND, names, roles
from providers.postgres.client import Session
from providers.postgres.programs import find
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE, TargetConfig
from tests.providers.postgres_by_hand import Opened, as_superuser, changed, client, open_local, query, run
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.testing.steps import make_ref, make_step


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    return open_local(local_servers)


@pytest.fixture(scope="session")
def directory(local_servers: LocalServers, opened: Opened) -> Path:
    """Where the local server keeps its log and its superuser's password."""
    return next(status.directory for status in local_servers.status() if status.kind == "postgres")


@pytest.fixture(scope="session")
def root(local_servers: LocalServers, opened: Opened) -> Opened:
    return as_superuser(local_servers, opened)


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
    async with client(opened).session() as session:
        yield session


def step(password: str = "pass word", **inputs: Any) -> Any:
    return make_step(inputs, {"password": password})


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
    async with client(opened).session(ref.name) as inside:
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
    await query((await provider.apply(ref, step())).secrets["url"], "SELECT")


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


async def test_what_the_inventory_finds_goes_as_it_says(
    opened: Opened, root: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    stray = f'{names.prefixes(ref.environment)[0]}_"$HOME; --'  # a superuser's, called as nobody should
    await run(root, "CREATE ROLE {}", stray)
    await run(root, "CREATE DATABASE {} OWNER {}", f"{stray}2", stray)
    found = [each async for each in provider.owned(ref.environment)]
    assert {each.kind for each in found} == {"postgres.database", "postgres.role"}
    programs = await find("postgres/test", msgspec.convert(opened[0].config, TargetConfig), 17)
    for each in found:
        assert not any(password in each.removal for password in (opened[1]["password"], "pass word"))
        _, password = root if f" -U {root[0].config['user']} " in each.removal else opened
        env = {"PATH": f"{programs.directory}:{os.environ['PATH']}", "PGPASSWORD": password["password"]}
        done = await asyncio.to_thread(
            subprocess.run, each.removal, shell=True, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert [each async for each in provider.owned(ref.environment)] == []


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
    async with client(root).session() as as_root:
        await as_root.ensure_open(ref.name)
    await run(root, "GRANT CONNECT ON DATABASE {} TO twin", ref.name)
    async with client(opened).session(ref.name) as inside:
        with pytest.raises(Blocked) as blocked:
            await inside.ensure_extensions(ref.name, ["vector"])
    await run(root, "ALTER DATABASE {} OWNER TO {}", ref.name, ref.name)
    assert blocked.value.key == "postgres/local/extension-vector"
    assert ref.name in blocked.value.mend


async def test_an_extension_in_use_is_not_dropped(provider: PostgresProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step(extensions=["vector"]))
    await query(applied.secrets["url"], "CREATE TABLE items (v vector(2))")
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step(extensions=[]))
    assert terminal.value.field == "extensions"
    assert await query(applied.secrets["url"], "SELECT count(*) FROM items") == [(0,)], "and the data are there"


async def test_an_extension_of_the_apps_own_migrations_stays(provider: PostgresProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step())
    await query(applied.secrets["url"], "CREATE EXTENSION vector")
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.drift == {}
    await provider.apply(ref, step())
    assert await query(applied.secrets["url"], "SELECT '[1,2]'::vector::text") == [("[1,2]",)]


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
        await query(applied.secrets["url"], "SELECT")
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert "suspended" in observed.drift
    await query((await provider.apply(ref, step())).secrets["url"], "SELECT")


async def test_one_environment_cannot_enter_anothers_database(provider: PostgresProvider, ref: ComponentRef) -> None:
    other = make_ref("db", type=DATABASE.name)
    try:
        theirs, ours = await provider.apply(other, step()), await provider.apply(ref, step())
        url = ours.secrets["url"].removesuffix(ref.name) + other.name
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            await query(url, "SELECT")
        await query(theirs.secrets["url"], "SELECT")
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

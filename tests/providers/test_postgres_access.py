"""Personal access to `postgres.database` on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from providers.local import LocalServers
from providers.postgres import KIND, names
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from tests.providers.postgres_by_hand import Opened, as_superuser, open_local, query, refused, rotating, run
from tests.providers.postgres_hooks import PostgresHooks
from twin.domain.errors import Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Member
from twin.testing.conformance.access import AccessConformance
from twin.testing.steps import make_ref, make_step

TIMEOUT = 10.0
"""Seconds."""

VERA = Member(name="vera@example.com", role="viewer", secrets={"password": "of vera"})
DAN = Member(name="dan@example.com", role="developer", secrets={"password": "of dan"})
OLGA = Member(name="olga@example.com", role="operator", secrets={"password": "of olga"})

STEP = rotating({1: "the application's"})


class Session:
    """A person's connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def read(self) -> str | None:
        cursor = await self._execute("SELECT value FROM kept")
        row = await cursor.fetchone()
        return None if row is None else str(row[0])

    async def write(self, value: str) -> None:
        await self._execute("INSERT INTO kept VALUES (%s)", value)
        await self._execute("DELETE FROM kept WHERE value <> %s", value)

    async def ended(self) -> None:
        with suppress(psycopg.OperationalError):
            async for _ in self._connection.notifies(timeout=TIMEOUT):
                pass
            raise TimeoutError

    async def close(self) -> None:
        await self._connection.close()

    async def _execute(self, statement: Any, *values: str) -> psycopg.AsyncCursor[Any]:
        try:
            return await self._connection.execute(statement, values)
        except InsufficientPrivilege as error:
            raise PermissionError(str(error)) from None
        except psycopg.OperationalError as error:
            raise ConnectionError(str(error)) from None


class Suite(PostgresHooks, AccessConformance):
    """What superuser and mere owner of CREATEDB and CREATEROLE both must achieve."""

    async def enter(self, applied: Applied, secrets: Mapping[str, str]) -> Session:
        with suppress(psycopg.OperationalError):  # of a component that is suspended or gone
            await query(applied.secrets["url"], "CREATE TABLE IF NOT EXISTS kept (value text)")
        try:
            return Session(await psycopg.AsyncConnection.connect(secrets["url"], autocommit=True))
        except psycopg.OperationalError as error:
            refusals = ("authentication failed", "not permitted to log in", "permission denied for database")
            if any(each in str(error) for each in refusals):
                raise PermissionError(str(error)) from None
            raise

    async def trespass(self, applied: Applied, secrets: Mapping[str, str], other: Applied) -> str | None:
        """As the other component's role of the same person; then into the other's database, as oneself."""
        mine, there = urlsplit(secrets["url"]), f"/{other.external_id}"
        person = f"%_{(mine.username or '').rpartition('_')[2]}"
        roles = await run(self.opened, f"SELECT rolname::text FROM pg_roles WHERE rolname LIKE '{person}'")
        theirs = {name for (name,) in roles} - {mine.username}
        assert theirs, "the person has a role there too"
        for user in theirs:
            url = mine._replace(netloc=mine.netloc.replace(mine.username or "", user), path=there).geturl()
            with pytest.raises(PermissionError):
                await self.enter(other, {"url": url})
        session = await self.enter(other, {"url": mine._replace(path=there).geturl()})
        try:
            return await session.read()
        finally:
            await session.close()


class TestAccessAsOwner(Suite):
    """The twin as a role with CREATEDB and CREATEROLE, as it should be."""

    @pytest.fixture
    async def provider(self, opened: Opened) -> AsyncIterator[PostgresProvider]:
        self.opened = opened
        self.credentials = opened[1]
        provider = KIND.open(*opened)
        yield provider
        await provider.close()


class TestAccessAsSuperuser(Suite):
    """The twin as a superuser."""

    grant_cuts = 2

    @pytest.fixture
    async def provider(self, local_servers: LocalServers, opened: Opened) -> AsyncIterator[PostgresProvider]:
        self.opened = as_superuser(local_servers, opened)
        self.credentials = self.opened[1]
        provider = KIND.open(*self.opened)
        yield provider
        await provider.close()


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    return open_local(local_servers)


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[PostgresProvider]:
    provider = KIND.open(*opened)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: PostgresProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("a" * 24 + "-z", type=DATABASE.name, incarnation=999_999)  # the longest name
    yield ref
    await provider.remove(ref, make_step())
    assert [each async for each in provider.owned(ref.environment)] == []


@pytest.fixture
async def app(provider: PostgresProvider, ref: ComponentRef) -> str:
    """The URL of the application of a component that is there."""
    return (await provider.apply(ref, STEP)).secrets["url"]


async def grant(provider: PostgresProvider, ref: ComponentRef, *members: Member) -> dict[str, str]:
    """The URL of each, by name."""
    given = await provider.grant(ref, make_step(), members)
    return {name: secrets["url"] for name, secrets in given.items()}


async def drift(provider: PostgresProvider, ref: ComponentRef) -> dict[str, str]:
    observed = await provider.observe(ref, {})
    assert observed is not None
    return observed.drift


async def denied(url: str, *statements: str) -> None:
    """Each statement is refused for lack of a right."""
    for statement in statements:
        with pytest.raises(InsufficientPrivilege):
            await query(url, statement)


MADE = """
    CREATE SCHEMA IF NOT EXISTS "The Shop"; CREATE TABLE "The Shop"."Or""ders" (id serial, total int);
    INSERT INTO "The Shop"."Or""ders" (total) VALUES (1); CREATE VIEW "The Shop".totals AS SELECT 1 AS one
"""
LATER = MADE.replace("The Shop", "later")


async def test_rights_are_of_what_was_there_before_and_of_what_comes_later(
    provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    await query(app, MADE)
    urls = await grant(provider, ref, VERA, DAN, OLGA)
    await query(app, LATER)
    for schema in ('"The Shop"', "later"):
        orders = f'{schema}."Or""ders"'
        for url in urls.values():
            assert await query(url, f"SELECT count(*) FROM {orders}") == [(1,)]
            assert await query(url, f"SELECT one FROM {schema}.totals") == [(1,)]
        await query(urls[DAN.name], f"INSERT INTO {orders} (total) VALUES (2)")
        await query(urls[DAN.name], f"UPDATE {orders} SET total = 3; DELETE FROM {orders} WHERE id = 2")
        insert, update = f"INSERT INTO {orders} VALUES (9, 9)", f"UPDATE {orders} SET total = 9"
        await denied(urls[VERA.name], insert, update, f"DELETE FROM {orders}", f"CREATE TABLE {schema}.mine (id int)")
        await denied(urls[VERA.name], f'SELECT nextval(\'{schema}."Or""ders_id_seq"\')', "CREATE TEMP TABLE mine ()")
        await denied(urls[DAN.name], f"TRUNCATE {orders}", f"DROP TABLE {orders}", f"CREATE TABLE {schema}.mine ()")
    assert await query(app, 'SELECT total FROM later."Or""ders"') == [(3,)]


async def test_an_operator_enters_as_the_owner_and_what_they_make_stays(
    provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    url = (await grant(provider, ref, OLGA, VERA))[OLGA.name]
    await query(url, "CREATE TABLE made (id int); INSERT INTO made VALUES (1)")
    await query(url, "SET ROLE NONE; CREATE SCHEMA own; CREATE TABLE own.made (id int); SELECT lo_create(4711)")
    await query(url, f'SET ROLE NONE; GRANT SELECT ON own.made TO "{names.login(ref, 1)}"')
    (left,) = (await grant(provider, ref, VERA)).values()
    assert await refused(url)
    await query(app, "ALTER TABLE own.made ADD COLUMN more int")
    assert await query(app, "SELECT count(*) FROM made") == [(1,)]
    assert await query(left, "SELECT count(*) FROM own.made") == [(0,)], "a viewer reads also what an operator made"
    assert await drift(provider, ref) == {}
    owned = {each.external_id async for each in provider.owned(ref.environment)}
    assert names.member(ref, OLGA.name) not in owned


async def test_who_is_an_operator_no_longer_has_no_session_as_the_owner(
    provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    (url,) = (await grant(provider, ref, OLGA)).values()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as session:
        await session.execute("CREATE TABLE made (id int)")
        await grant(provider, ref, Member(name=OLGA.name, role="viewer", secrets=OLGA.secrets))
        with pytest.raises(psycopg.OperationalError):
            await session.execute("INSERT INTO made VALUES (1)")
    assert await query(url, "SELECT count(*) FROM made") == [(0,)]
    await denied(url, "INSERT INTO made VALUES (1)", f'SET ROLE "{ref.name}"')


async def test_access_that_is_granted_or_ended_while_suspended_waits_for_the_resumption(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    old = await grant(provider, ref, OLGA, VERA)
    await query(old[OLGA.name], "SET ROLE NONE; CREATE SCHEMA own; CREATE TABLE own.made (id int)")
    await provider.suspend(ref, STEP)
    new = await grant(provider, ref, VERA, DAN)
    for url in {**old, **new}.values():
        assert await refused(url)
    assert set(await drift(provider, ref)) == {"suspended", "login"}
    await provider.apply(ref, STEP)
    for url in {**old, **new}.values():
        assert await refused(url)
    await grant(provider, ref, VERA, DAN)
    assert await refused(old[OLGA.name])
    await query(new[DAN.name], "INSERT INTO own.made VALUES (1)")
    assert await query(new[VERA.name], "SELECT count(*) FROM own.made") == [(1,)]
    assert await drift(provider, ref) == {}
    owned = {each.external_id async for each in provider.owned(ref.environment)}
    assert names.member(ref, OLGA.name) not in owned


async def test_nobody_is_let_into_what_does_not_stand(provider: PostgresProvider, ref: ComponentRef) -> None:
    with pytest.raises(Transient):
        await grant(provider, ref, VERA)
    assert [each async for each in provider.owned(ref.environment)] == []
    assert await grant(provider, ref) == {}, "of what does not stand, everything is taken away already"


async def test_access_is_taken_also_where_the_database_was_dropped(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    urls = await grant(provider, ref, VERA, OLGA)
    await run(opened, "DROP DATABASE {} WITH (FORCE)", ref.name)
    with pytest.raises(Transient):
        await grant(provider, ref, VERA)
    await provider.apply(ref, STEP)
    assert await refused(urls[OLGA.name]), "a role is of the whole server"
    await grant(provider, ref, VERA)
    assert await query(urls[VERA.name], "SELECT 1") == [(1,)]


async def test_an_apply_closes_a_role_that_has_ended_and_was_opened_by_hand(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    url = (await grant(provider, ref, VERA))[VERA.name]
    await provider.suspend(ref, STEP)
    await grant(provider, ref)
    await run(opened, "ALTER ROLE {} LOGIN PASSWORD 'of vera'", names.member(ref, VERA.name))
    await provider.apply(ref, STEP)
    assert await refused(url)


@pytest.mark.parametrize("field", ["people", "rights"])
async def test_damage_by_hand_is_seen_and_the_next_apply_and_grant_mend_it(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef, app: str, field: str
) -> None:
    await query(app, "CREATE TABLE made (id int)")
    urls = await grant(provider, ref, VERA, DAN, OLGA)
    vera, dan, olga = (names.member(ref, each.name) for each in (VERA, DAN, OLGA))
    reader, writer = names.groups(ref)
    damages = {
        "people": (
            ("ALTER ROLE {} NOLOGIN", vera),
            ("COMMENT ON ROLE {} IS NULL", dan),
            ("COMMENT ON ROLE {} IS 'whose?'", olga),
            ("REVOKE {} FROM {}", writer, dan),
            ("GRANT {} TO {}", ref.name, vera),
            ("ALTER ROLE {} RESET role", olga),
            ("ALTER ROLE {} LOGIN", reader),
            ("DROP OWNED BY {}; DROP ROLE {}", writer, writer),
        ),
        "rights": (
            ("REVOKE CONNECT ON DATABASE {} FROM {}", ref.name, reader),
            ("REVOKE SELECT ON made FROM {}", reader),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE INSERT ON TABLES FROM {}", ref.name, writer),
        ),
    }
    for statement, *about in damages[field]:
        await run(opened, statement, *about, database=ref.name)
        assert field in await drift(provider, ref), statement
        await provider.apply(ref, STEP)
        await grant(provider, ref, VERA, DAN, OLGA)
        assert await drift(provider, ref) == {}, statement
        await query(app, "DROP TABLE IF EXISTS later; CREATE TABLE later (id int)")
        for url in urls.values():
            assert await query(url, "SELECT count(*) FROM later") == [(0,)], statement
        await denied(urls[VERA.name], "INSERT INTO made VALUES (1)")
        for name in (DAN.name, OLGA.name):
            await query(urls[name], "INSERT INTO later VALUES (1)")


async def test_no_catalogue_that_all_can_read_names_a_person_and_no_log_a_password(
    local_servers: LocalServers, opened: Opened, provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    root = as_superuser(local_servers, opened)
    await run(root, "ALTER ROLE twin SET log_statement = 'all'")
    try:
        await grant(provider, ref, VERA)
    finally:
        await run(root, "ALTER ROLE twin RESET log_statement")
    name = names.member(ref, VERA.name)
    assert len(name) == 63
    ((shown, comment),) = await query(
        app, f"SELECT rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{name}'"
    )
    assert comment.startswith(f"{ref.mark} member=viewer ")
    assert "vera" not in shown + comment
    directory = next(status.directory for status in local_servers.status() if status.kind == "postgres")
    log = (directory / "server.log").read_text()
    assert f'CREATE ROLE "{name}"' in log, "the server did log what it was asked"
    assert "of vera" not in log


async def test_what_a_member_owns_goes_to_the_owner_when_they_go(
    provider: PostgresProvider, ref: ComponentRef, app: str
) -> None:
    url = (await grant(provider, ref, DAN))[DAN.name]
    await query(app, f'GRANT CREATE ON SCHEMA public TO "{names.member(ref, DAN.name)}"')
    await query(url, "CREATE TABLE own (id int)")
    await grant(provider, ref)
    assert await query(app, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'own'") == [(ref.name,)]
    owned = {each.external_id async for each in provider.owned(ref.environment)}
    assert names.member(ref, DAN.name) not in owned

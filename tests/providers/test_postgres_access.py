"""Personal access to a database, on a real server: held to what every provider must do, and PostgreSQL's own rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND, names
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from tests.providers.postgres_by_hand import Opened, open_local, query, run
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Member
from twin.testing.conformance.access import AccessConformance, Session
from twin.testing.steps import make_ref, make_step

TABLE = "CREATE TABLE IF NOT EXISTS kept (value text)"
REFUSALS = ("authentication failed", "not permitted to log in", "not currently accepting", "does not exist")


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


class Connected:
    """A member's connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def read(self) -> str | None:
        rows = await self._asked("SELECT value FROM kept")
        return str(rows[0][0]) if rows else None

    async def write(self, value: str) -> None:
        await self._asked("DELETE FROM kept")
        await self._asked(f"INSERT INTO kept VALUES ('{value}')")

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            while not self._connection.closed:
                try:
                    await self._connection.execute("SELECT 1")
                except psycopg.OperationalError:
                    return

    async def close(self) -> None:
        await self._connection.close()

    async def _asked(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            cursor = await self._connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermissionError(str(error)) from error
        except psycopg.OperationalError as error:
            raise OSError(str(error)) from error
        return await cursor.fetchall() if cursor.description else []


async def connected(url: str) -> Connected:
    try:
        return Connected(await psycopg.AsyncConnection.connect(url, autocommit=True))
    except psycopg.OperationalError as error:
        if any(said in str(error) for said in (*REFUSALS, "permission denied for database")):
            raise PermissionError(str(error)) from error
        raise


class TestDatabaseAccess(AccessConformance):
    """What every provider must do that gives people access of their own."""

    component_type = DATABASE
    grant_cuts = 5

    @pytest.fixture(autouse=True)
    def credentials_of(self, opened: Opened) -> None:
        self.credentials = opened[1]

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"connections": 20 + 10 * n}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        await query(applied.secrets["url"], TABLE)

    async def put(self, applied: Applied, value: str) -> None:
        await query(applied.secrets["url"], f"{TABLE}; DELETE FROM kept; INSERT INTO kept VALUES ('{value}')")

    async def get(self, applied: Applied) -> str | None:
        await query(applied.secrets["url"], TABLE)
        rows = await query(applied.secrets["url"], "SELECT value FROM kept")
        return str(rows[0][0]) if rows else None

    async def enter(self, applied: Applied, secrets: Mapping[str, str]) -> Session:
        session = await connected(secrets["url"])
        try:
            await query(applied.secrets["url"], TABLE)  # made by the application, after access was granted
        except psycopg.OperationalError:
            await session.close()
            raise
        return session

    async def trespass(self, applied: Applied, secrets: Mapping[str, str], other: Applied) -> str | None:
        url = secrets["url"].rpartition("/")[0] + f"/{other.outputs['database']}"
        session = await connected(url)
        try:
            return await session.read()
        finally:
            await session.close()


def people(**parts: str) -> tuple[Member, ...]:
    return tuple(
        Member(name=name, role=role, secrets={"password": f"minted-for-{name}-and-long"})  # type: ignore[arg-type]
        for name, role in parts.items()
    )


async def test_rights_reach_every_schema_view_and_sequence_also_those_to_come(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    app = (await provider.apply(ref, make_step({}, {"password": "the app's own password"}))).secrets["url"]
    await query(app, "CREATE SCHEMA old; CREATE TABLE old.things (id serial, name text)")
    given = await provider.grant(ref, make_step({}, {}), people(vera="viewer", dan="developer"))
    await query(app, "CREATE SCHEMA new; CREATE TABLE new.things (id serial, name text)")
    await query(app, "CREATE VIEW new.names AS SELECT name FROM new.things")
    for schema in ("old", "new"):
        await query(given["dan"]["url"], f"INSERT INTO {schema}.things (name) VALUES ('a')")
        assert await query(given["vera"]["url"], f"SELECT name FROM {schema}.things") == [("a",)]
    assert await query(given["vera"]["url"], "SELECT name FROM new.names") == [("a",)]
    for statement in ("INSERT INTO old.things (name) VALUES ('b')", "CREATE TABLE mine (id int)", "DROP SCHEMA old"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await query(given["vera"]["url"], statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await query(given["dan"]["url"], "DROP TABLE old.things")


async def test_what_an_operator_makes_belongs_to_the_application(provider: PostgresProvider, ref: ComponentRef) -> None:
    app = (await provider.apply(ref, make_step({}, {"password": "the app's own password"}))).secrets["url"]
    given = await provider.grant(ref, make_step({}, {}), people(olga="operator"))
    await query(given["olga"]["url"], "CREATE TABLE made (id int)")
    await provider.grant(ref, make_step({}, {}), ())
    assert await query(app, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'") == [(ref.name,)]
    await query(app, "ALTER TABLE made ADD COLUMN more int")


async def test_what_a_member_owns_goes_to_the_owner_when_they_go(
    provider: PostgresProvider, ref: ComponentRef, opened: Opened
) -> None:
    app = (await provider.apply(ref, make_step({}, {"password": "the app's own password"}))).secrets["url"]
    given = await provider.grant(ref, make_step({}, {}), people(dan="developer"))
    await query(app, f'GRANT CREATE ON SCHEMA public TO "{names.member(ref, "dan")}"')
    await query(given["dan"]["url"], "CREATE TABLE own (id int)")
    await provider.grant(ref, make_step({}, {}), ())
    assert await query(app, "SELECT tableowner FROM pg_tables WHERE tablename = 'own'") == [(ref.name,)]
    assert await run(opened, f"SELECT 1 FROM pg_roles WHERE rolname = '{names.member(ref, 'dan')}'") == []

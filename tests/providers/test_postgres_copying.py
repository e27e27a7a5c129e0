"""Copies of databases by dump and restore, on the real server and across two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from tests.providers.postgres_by_hand import Opened, as_superuser, open_local, query, run
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied
from twin.testing.conformance.copying import CopyConformance

PASSWORD = "a password of the clone"


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    return open_local(local_servers)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Another server."""
    servers = LocalServers(tmp_path_factory.mktemp("second"))
    yield open_local(servers)
    servers.remove()


class Suite(CopyConformance):
    """What superuser and mere owner of CREATEDB and CREATEROLE both must achieve."""

    component_type = DATABASE
    opened: Opened
    second: Opened

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"connections": 10 + 10 * n, "extensions": ["vector"]}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        await query(applied.secrets["url"], "CREATE TEMP TABLE proof (v vector(2)); INSERT INTO proof VALUES ('[1,2]')")

    async def fill(self, applied: Applied, values: Sequence[str]) -> None:
        async with await psycopg.AsyncConnection.connect(applied.secrets["url"]) as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS people (id serial PRIMARY KEY, email text)")
            await connection.cursor().executemany(
                "INSERT INTO people (email) VALUES (%s)", [(value,) for value in values]
            )

    async def values(self, applied: Applied) -> list[str]:
        if (await query(applied.secrets["url"], "SELECT to_regclass('people')"))[0][0] is None:
            return []
        return [email for (email,) in await query(applied.secrets["url"], "SELECT email FROM people")]

    async def enterable(self, ref: ComponentRef, source: Applied) -> bool:
        prefix = ref.name.split("_")[1]
        rows = await run(self.opened, f"SELECT datname::text FROM pg_database WHERE datname LIKE '%{prefix}%'")
        for (name,) in rows:
            try:
                await query(source.secrets["url"].rpartition("/")[0] + f"/{name}", "SELECT")
            except psycopg.OperationalError:
                continue
            return True
        return False

    def masking(self) -> Mapping[str, bytes]:
        return {"masking/people.sql": b"UPDATE people SET email = 'masked';\n"}

    def broken_masking(self) -> Mapping[str, bytes]:
        return {"masking/broken.sql": b"UPDATE people SET id = email::int;\n"}

    def elsewhere(self) -> PostgresProvider:
        return KIND.open(*self.second)


class TestCopiesAsOwner(Suite):
    """The twin as a role with CREATEDB and CREATEROLE, as it should be."""

    @pytest.fixture
    async def provider(self, opened: Opened, second: Opened) -> AsyncIterator[PostgresProvider]:
        self.opened, self.second, self.credentials = opened, second, opened[1]
        provider = KIND.open(*opened)
        yield provider
        await provider.close()


class TestCopiesAsSuperuser(Suite):
    """The twin as a superuser."""

    copy_cuts = 2

    @pytest.fixture
    async def provider(
        self, local_servers: LocalServers, opened: Opened, second: Opened
    ) -> AsyncIterator[PostgresProvider]:
        self.opened = as_superuser(local_servers, opened)
        self.second, self.credentials = second, self.opened[1]
        provider = KIND.open(*self.opened)
        yield provider
        await provider.close()

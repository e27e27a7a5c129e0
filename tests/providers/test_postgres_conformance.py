"""What every provider must do whose credentials rotate, proven on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND
from providers.postgres.provider import PostgresProvider
from tests.providers.postgres_by_hand import Opened, as_superuser, open_local, run
from tests.providers.postgres_hooks import PostgresHooks
from twin.ports.provider import Applied
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.conformance.rotation import RotationConformance


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    return open_local(local_servers)


@pytest.fixture(scope="session")
def root(local_servers: LocalServers, opened: Opened) -> Opened:
    return as_superuser(local_servers, opened)


class Suite(PostgresHooks, ProviderConformance, RotationConformance):
    """What superuser and mere owner of CREATEDB and CREATEROLE both must achieve."""

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

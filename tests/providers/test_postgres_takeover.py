"""A worker that stands still in the middle of a step keeps its session, and nobody else waits for it for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from twin.domain.targets import Target
from twin.testing.steps import make_ref, make_step

Opened = tuple[Target, dict[str, str]]


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    local_servers.start("postgres")
    return next(each for each in local_servers.targets() if each[0].provider == "postgres")


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[PostgresProvider]:
    provider = KIND.open(*opened)
    yield provider
    await provider.close()


@pytest.fixture
async def frozen(opened: Opened) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The session of a worker that was stopped: it answers nothing, and the server cannot know."""
    config = opened[0].config
    connection = await psycopg.AsyncConnection.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["database"],
        user=config["user"],
        password=opened[1]["password"],
        autocommit=True,
    )
    yield connection
    await connection.close()


async def test_the_next_worker_ends_the_session_of_a_frozen_one(
    provider: PostgresProvider, frozen: psycopg.AsyncConnection[Any]
) -> None:
    ref, other = make_ref("db", type=DATABASE.name), make_ref("other", type=DATABASE.name)
    for name in (ref.name, other.name):
        await frozen.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
    step = make_step({}, {"password": "a password of enough characters"})
    assert (await provider.apply(ref, step)).external_id == ref.name
    with pytest.raises(psycopg.OperationalError):
        await frozen.execute("SELECT")
    await provider.remove(ref, step)


async def test_who_does_not_hold_that_name_is_left_alone(
    provider: PostgresProvider, frozen: psycopg.AsyncConnection[Any]
) -> None:
    ref, other = make_ref("db", type=DATABASE.name), make_ref("other", type=DATABASE.name)
    await frozen.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [other.name])
    step = make_step({}, {"password": "a password of enough characters"})
    await provider.apply(ref, step)
    await provider.remove(ref, step)
    await frozen.execute("SELECT")

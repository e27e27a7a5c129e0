"""Databases for the store's tests: a file each on SQLite, a clone of one migrated template each on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from sqlalchemy import URL, make_url

from providers.local import LocalServers
from twin.store.postgres import prepare
from twin.testing.conformance.store_setting import StoppedClock

_numbers = count(1)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(scope="session")
def postgres_server(local_servers: LocalServers) -> str:
    """The URL of a server's `postgres` database, as a role that may create databases."""
    local_servers.start("postgres")
    ((target, secrets),) = [found for found in local_servers.targets() if found[0].provider == "postgres"]
    config = target.config
    url = URL.create(
        "postgresql", config["user"], secrets["password"], config["host"], config["port"], config["database"]
    )
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of a migrated database that nobody uses."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE store_template")
    prepare(database_url(postgres_server, "store_template"), upgrade=True)
    return "store_template"


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A database of its own."""
    name = f"store_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
        yield database_url(postgres_server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def database_url(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)

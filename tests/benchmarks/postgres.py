"""A PostgreSQL of our own for a run, from the same wheel as the embedded default's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from providers.local import LocalServers


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of its database `postgres`."""
    servers = LocalServers(directory)
    try:
        servers.start("postgres")
        ((target, secrets),) = servers.targets()
        config = target.config
        url = URL.create(
            "postgresql", config["user"], secrets["password"], config["host"], config["port"], config["database"]
        )
        yield url.render_as_string(hide_password=False)
    finally:
        servers.remove("postgres")


def database(url: str, name: str) -> str:
    """A fresh database on it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)

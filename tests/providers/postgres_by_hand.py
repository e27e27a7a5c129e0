"""The local PostgreSQL by hand: what the tests of its provider do behind the twin's back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from providers.local import LocalServers
from providers.postgres.client import Server
from providers.postgres.spec import TargetConfig
from twin.domain.targets import Target
from twin.ports.provider import StepContext
from twin.testing.steps import make_step

Opened = tuple[Target, dict[str, str]]
Live = Mapping[int, str]


def open_local(servers: LocalServers) -> Opened:
    """The local server, worked on by a role that is no superuser."""
    servers.start("postgres")
    return next(each for each in servers.targets() if each[0].provider == "postgres")


def as_superuser(servers: LocalServers, opened: Opened) -> Opened:
    """The same server, worked on by its superuser."""
    directory = next(status.directory for status in servers.status() if status.kind == "postgres")
    password = (directory / "superuser.password").read_text().strip()
    return changed(opened[0], user="postgres"), {"password": password}


def changed(target: Target, **config: Any) -> Target:
    """The target with other values in its config."""
    return msgspec.structs.replace(target, config={**target.config, **config})


def client(opened: Opened) -> Server:
    """The provider's own client."""
    return Server(opened[0].name, msgspec.convert(opened[0].config, TargetConfig), opened[1]["password"])


def rotating(live: Live, **more: Any) -> StepContext:
    """A step with the passwords of the live credentials by version."""
    credentials = {version: {"password": password} for version, password in live.items()}
    return make_step(more.pop("inputs", {}), credentials[max(live)], credentials=credentials, **more)


@asynccontextmanager
async def session(opened: Opened, database: str | None = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection with the target's own credentials."""
    config = opened[0].config
    async with await psycopg.AsyncConnection.connect(
        host=config["host"],
        port=config["port"],
        user=config["user"],
        dbname=database or config["database"],
        password=opened[1]["password"],
        autocommit=True,
    ) as connection:
        yield connection


async def run(opened: Opened, statement: str, *names: str, database: str | None = None) -> list[tuple[Any, ...]]:
    """A statement with the target's own credentials; {} are identifiers."""
    async with session(opened, database) as connection:
        cursor = await connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
        return await cursor.fetchall() if cursor.description else []


async def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """A statement of whoever has that URL."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


async def refused(url: str) -> bool:
    """Whether the server turns the login away."""
    try:
        await query(url, "SELECT")
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error) or "not permitted to log in" in str(error):
            return True
        raise
    return False

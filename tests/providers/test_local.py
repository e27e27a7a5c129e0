"""The embedded default's servers, started for real."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import nats
import psutil
import psycopg
import pytest
import redis

from providers.local import LocalServers, ServerStatus
from twin.domain.errors import Invalid, Unavailable

KINDS = ("postgres", "redis", "nats")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[LocalServers]:
    servers = LocalServers(tmp_path / "local")
    yield servers
    servers.remove()


def status(servers: LocalServers, kind: str) -> ServerStatus:
    return next(each for each in servers.status() if each.kind == kind)


def connect(servers: LocalServers, database: str = "postgres") -> psycopg.Connection:
    target, credentials = named(servers, "postgres/local")
    config = {**target.config, "database": database}
    return psycopg.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["database"],
        user=config["user"],
        password=credentials["password"],
        autocommit=True,
    )


def named(servers: LocalServers, name: str):
    return next((target, credentials) for target, credentials in servers.targets() if target.name == name)


def test_all_three_run_answer_and_say_their_version(servers: LocalServers) -> None:
    assert [(each.kind, each.state) for each in servers.status()] == [(kind, "stopped") for kind in KINDS]
    assert servers.targets() == ()

    servers.start()

    assert [(each.kind, each.state) for each in servers.status()] == [(kind, "running") for kind in KINDS]
    assert [each.version.split(".")[0] for each in servers.status()] == ["18", "6", "2"]
    assert [target.name for target, _ in servers.targets()] == ["postgres/local", "redis/local", "nats/local"]
    servers.stop()
    assert [(each.kind, each.state, each.pid) for each in servers.status()] == [(kind, "stopped", None) for kind in KINDS]

"""What the servers themselves say is there: none of our records, none of our providers' code."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import nats
import psutil
import psycopg
import redis
from msgspec import Struct

from twin.domain.targets import Target

Opened = tuple[Target, dict[str, str]]


class Catalogues(Struct, frozen=True):
    """What carries an environment's prefix: names as often as they are listed. `logins` are the roles and databases
    that PostgreSQL has beside a component's own two, `replicas` counts app processes by component and slot,
    `processes` is all of them."""

    databases: Counter[str]
    roles: Counter[str]
    logins: Counter[str]
    users: Counter[str]
    marks: Counter[str]
    accounts: Counter[str]
    streams: Counter[str]
    replicas: Counter[str]
    processes: int

    @property
    def empty(self) -> bool:
        """Whether nothing is there."""
        return not self.processes and not any(getattr(self, name) for name in self.__struct_fields__)


def look(targets: Iterable[Opened], environment: str) -> Catalogues:
    """The catalogues of the local servers and the process table."""
    by_name = {target.provider: (target, credentials) for target, credentials in targets}
    prefix = f"tw_{environment.removeprefix('env_').lower()}_"

    def ours(names: Iterable[str]) -> Counter[str]:
        return Counter(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    with postgres(by_name["postgres"]) as pg:
        databases = [str(name) for (name,) in pg.execute("SELECT datname FROM pg_database")]
        roles = [str(name) for (name,) in pg.execute("SELECT rolname FROM pg_roles")]
    own = prefix.removeprefix("tw_")
    logins = Counter(name.replace(own, "", 1) for name in (*databases, *roles) if name[3:].startswith(own))
    for name in (*ours(databases), *ours(roles)):
        logins.pop(f"tw_{name}", None)
    with cache(by_name["redis"]) as client:
        users = [line.split()[1] for line in client.acl_list()]
        marks = list(client.hkeys("twin:owned"))
    accounts, streams = asyncio.run(_nats(by_name["nats"]))
    processes = list(_processes(environment))
    replicas = [f"{_mark(p, 'TWIN_COMPONENT')} {_mark(p, 'TWIN_SLOT')}" for p in processes if _mark(p, "PORT")]
    return Catalogues(
        databases=ours(databases),
        roles=ours(roles),
        logins=logins,
        users=ours(users),
        marks=ours(marks),
        accounts=ours(accounts),
        streams=ours(streams),
        replicas=ours(replicas),
        processes=len(processes),
    )


@contextlib.contextmanager
def postgres(opened: Opened, *, user: str | None = None, password: str | None = None) -> Iterator[psycopg.Connection]:
    """The server by hand, as the target's role unless another is named."""
    config = opened[0].config
    with psycopg.connect(
        host=config["host"],
        port=config["port"],
        dbname=config["database"],
        user=user or config["user"],
        password=password or opened[1]["password"],
        autocommit=True,
    ) as connection:
        yield connection


@contextlib.contextmanager
def cache(opened: Opened) -> Iterator[redis.Redis]:
    """The server by hand, as the target's user."""
    config = opened[0].config
    client = redis.Redis(
        host=config["host"],
        port=config["port"],
        username=config["user"],
        password=opened[1]["password"],
        decode_responses=True,
    )
    with contextlib.closing(client):
        yield client


async def _nats(opened: Opened) -> tuple[list[str], list[str]]:
    """The accounts that the server knows, and `account` of every stream in them."""
    target, credentials = opened
    client = await nats.connect(
        f"nats://{target.config['host']}:{target.config['port']}",
        user=credentials["system_user"],
        password=credentials["system_password"],
        allow_reconnect=False,
    )
    try:

        async def ask(subject: str, body: dict[str, Any]) -> Any:
            return json.loads((await client.request(subject, json.dumps(body).encode(), timeout=5)).data)["data"]

        known = await ask("$SYS.REQ.SERVER.PING.ACCOUNTZ", {})
        stored = await ask("$SYS.REQ.SERVER.PING.JSZ", {"accounts": True, "streams": True, "limit": 1024})
    finally:
        await client.close()
    details = stored.get("account_details") or []
    streams = [f"{a['name']} {s['name']}" for a in details for s in a.get("stream_detail") or []]
    return list(known["accounts"]), [each.partition(" ")[0] for each in streams]


def _processes(environment: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marked = environment in process.environ().get("TWIN_ENVIRONMENT", "")
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _mark(process: psutil.Process, name: str) -> str:
    with contextlib.suppress(psutil.Error):
        return process.environ().get(name, "")
    return ""

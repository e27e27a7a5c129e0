"""People's own access on real servers: given with a membership, taken with it, open sessions and all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nats.aio.client
import psycopg
import pytest
import redis

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.knocking import Knocker, Record, knock, verdict
from tests.acceptance.service import TWIN, Service
from tests.waiting import eventually

COMPONENTS = {
    "db": {"type": "postgres.database"},
    "cache": {"type": "redis.keyspace"},
    "jobs": {"type": "nats.stream", "inputs": {"subjects": ["jobs.>"]}},
}


@pytest.fixture
def shop(make_service: Start, tmp_path: Path) -> tuple[Service, str]:
    """A twin, and an environment with one of everything that people can enter."""
    service = make_service()
    service.serve()
    service.publish(folder(tmp_path / "shop", COMPONENTS, name="shop"))
    created = service.create("dev", "shop")
    service.succeeded(created)
    return service, created["environment_id"]


def own(service: Service, environment: str, token: str) -> dict[str, str]:
    """Somebody's own credentials, by their own token."""
    path = f"/v1/environments/{environment}/members/me/credentials"
    answer = service.api.post(path, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    variables: dict[str, str] = answer.json()["variables"]
    return variables


def token_of(service: Service, person: str) -> str:
    """A token for a person who may see the project, and no more."""
    made = service.post("/v1/tokens", {"name": person, "roles": [["shop", "viewer"]]})
    return str(made["token"])


def test_a_member_enters_as_themselves_and_nobody_after_that(shop: tuple[Service, str]) -> None:
    service, environment = shop
    vera, dan = token_of(service, "vera"), token_of(service, "dan")
    members = [{"name": "vera", "role": "viewer"}, {"name": "dan", "role": "developer"}]
    service.succeeded(service.signal(environment, "add_members", members=members))
    shown = service.api.post(f"/v1/environments/{environment}/credentials/reveal", json={"reason": "to fill it"}).json()
    with psycopg.connect(shown["variables"]["DB_URL"], autocommit=True) as app:
        app.execute("CREATE TABLE orders (id int)")

    hers, his = own(service, environment, vera), own(service, environment, dan)
    for name in ("DB_PASSWORD", "CACHE_PASSWORD", "JOBS_PASSWORD", "PGUSER"):
        assert hers[name] != his[name], "nobody shares anything"
    with (
        psycopg.connect(hers["DB_URL"], autocommit=True) as reading,
        psycopg.connect(his["DB_URL"], autocommit=True) as writing,
        redis.Redis.from_url(his["CACHE_URL"]) as cache,
    ):
        writing.execute("INSERT INTO orders VALUES (1)")
        assert reading.execute("SELECT id FROM orders").fetchall() == [(1,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reading.execute("INSERT INTO orders VALUES (2)")
        cache.ping()
        asyncio.run(_knock_all(hers))

        service.succeeded(service.signal(environment, "remove_members", names=["dan"]))
        with pytest.raises(psycopg.OperationalError):
            writing.execute("SELECT 1")
        with pytest.raises((redis.ConnectionError, redis.AuthenticationError)):
            cache.ping()  # connects anew if it must
        assert reading.execute("SELECT id FROM orders").fetchall() == [(1,)], "others stay connected"
    for name in ("DB_URL", "CACHE_URL", "JOBS_URL"):
        assert verdict(asyncio.run(_caught(lambda name=name: knock(his[name])))) == "refused", name
    refused = service.api.post(
        f"/v1/environments/{environment}/members/me/credentials", headers={"Authorization": f"Bearer {dan}"}
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "not_a_member")
    recorded = service.get("/v1/audit", type="fact", limit=500)["items"]
    assert {"vera", "dan"} <= {each["data"]["details"].get("person") for each in recorded}


def test_a_project_s_members_stay_in_all_of_its_environments_until_their_time_is_over(
    shop: tuple[Service, str],
) -> None:
    service, environment = shop
    ada = token_of(service, "ada")

    def put(until: str) -> None:
        answer = service.api.put("/v1/projects/shop/members/ada", json={"role": "developer", "until": until})
        assert answer.status_code == 200, answer.text

    put("1h")

    def granted() -> bool:
        (member,) = service.get(f"/v1/environments/{environment}/members")["items"] or ({},)
        return bool(member) and set(member["access"].values()) == {"granted"}

    eventually(granted, within=60, why=service.last_lines)
    hers = own(service, environment, ada)
    asyncio.run(_stay_until_put_out(hers, then=lambda: put("1s")))
    eventually(lambda: not service.get(f"/v1/environments/{environment}/members")["items"], why=service.last_lines)
    for name in ("DB_URL", "CACHE_URL", "JOBS_URL"):
        assert verdict(asyncio.run(_caught(lambda name=name: knock(hers[name])))) == "refused", name


def test_a_member_who_is_removed_is_put_out_though_an_update_cannot_be_applied(
    shop: tuple[Service, str], tmp_path: Path
) -> None:
    service, environment = shop
    ada = token_of(service, "ada")
    service.succeeded(service.signal(environment, "add_members", members=[{"name": "ada", "role": "developer"}]))
    hers = own(service, environment, ada)
    wrong = {**COMPONENTS, "db": {"type": "postgres.database", "inputs": {"extensions": ["nope"]}}}
    service.publish(folder(tmp_path / "wrong", wrong, name="shop", version="2.0.0"))
    service.signal(environment, "update", blueprint="shop@2.0.0")
    service.reaches(environment, "failed")
    with psycopg.connect(hers["DB_URL"], autocommit=True) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        removed = service.watch("member", "rm", "shop/dev", "ada")
        assert "succeeded" in removed
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert verdict(asyncio.run(_caught(lambda: knock(hers["DB_URL"])))) == "refused"
    assert "ada" not in service.twin("member", "ls", "shop/dev")
    assert service.environment(environment)["status"] == "failed", "the update still cannot be applied"


def test_a_member_who_is_removed_while_it_is_suspended_never_enters_again(
    shop: tuple[Service, str], tmp_path: Path
) -> None:
    service, environment = shop
    ada, bo = token_of(service, "ada"), token_of(service, "bo")
    members = [{"name": "ada", "role": "developer"}, {"name": "bo", "role": "developer"}]
    service.succeeded(service.signal(environment, "add_members", members=members))
    hers, his = own(service, environment, ada), own(service, environment, bo)
    service.succeeded(service.signal(environment, "suspend"))
    doors = {name: hers[name] for name in ("DB_URL", "CACHE_URL", "JOBS_URL")}
    record = Record(tmp_path / "record")
    with Knocker(lambda: doors, record):
        service.succeeded(service.signal(environment, "remove_members", names=["ada"]))
        service.succeeded(service.signal(environment, "resume"))
        tried = record.counts().total()
        eventually(lambda: record.counts().total() >= tried + 2 * len(doors), why=service.last_lines)
    opened = {name: count for (name, how), count in record.counts().items() if how == "opened"}
    assert not opened, f"of {record.counts()}"
    asyncio.run(_knock_all(his))


def test_twin_run_as_me_needs_no_password_on_a_command_line(shop: tuple[Service, str]) -> None:
    service, environment = shop
    mine = token_of(service, "me-myself")
    service.succeeded(service.signal(environment, "add_members", members=[{"name": "me-myself", "role": "viewer"}]))
    script = "import os, psycopg; print(psycopg.connect('').execute('SELECT current_user').fetchone()[0])"
    done = subprocess.run(
        [*TWIN, "run", "shop/dev", "--as", "me", "--", sys.executable, "-c", script],
        env=service.environ | {"TWIN_TOKEN": mine},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("tm_"), "a role of one's own, and not the app's"
    listed = service.twin("member", "ls", "shop/dev")
    assert "me-myself" in listed
    assert "db granted" in listed


async def _knock_all(variables: dict[str, str]) -> None:
    for name in ("DB_URL", "CACHE_URL", "JOBS_URL"):
        await knock(variables[name])


async def _stay_until_put_out(variables: dict[str, str], *, then: Callable[[], None]) -> None:
    """Enter everywhere by one connection each, which is never made anew, do `then`, and stay until all are ended."""
    cache = urlsplit(variables["CACHE_URL"])
    jobs, ended = nats.aio.client.Client(), asyncio.Event()

    async def closed() -> None:
        ended.set()

    async def told(_: Exception) -> None:
        """That it is put out is what we wait for."""

    async with await psycopg.AsyncConnection.connect(variables["DB_URL"], autocommit=True) as db:
        await jobs.connect(variables["JOBS_URL"], allow_reconnect=False, closed_cb=closed, error_cb=told)
        reader, writer = await asyncio.open_connection(cache.hostname, cache.port)
        try:
            writer.write(f"AUTH {cache.username} {unquote(cache.password or '')}\r\nPING\r\n".encode())
            assert [await reader.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
            await jobs.flush(10)
            await db.execute("SELECT 1")
            await asyncio.to_thread(then)
            async with asyncio.timeout(90):
                assert await reader.read() == b"", "Redis ends the connection"
                await ended.wait()
                with pytest.raises(psycopg.OperationalError):
                    async for _ in db.notifies():
                        pass
        finally:
            writer.close()
            await jobs.close()


async def _caught(call: Callable[[], Awaitable[Any]]) -> BaseException | None:
    try:
        await call()
    except Exception as error:
        return error
    return None

"""The embedded default's servers, started for real."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import nats
import psutil
import psycopg
import pytest
import redis

from providers.local import LocalServers, ServerStatus
from twin.domain.errors import Invalid, Unavailable
from twin.domain.targets import Target

KINDS = ("postgres", "redis", "nats", "caddy")
"""Caddy is there by `make tools`: without it these tests fail."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[LocalServers]:
    servers = LocalServers(tmp_path / "local")
    yield servers
    servers.remove()


def status(servers: LocalServers, kind: str) -> ServerStatus:
    return next(each for each in servers.status() if each.kind == kind)


def test_all_run_answer_and_say_their_version(servers: LocalServers) -> None:
    assert [(each.kind, each.state) for each in servers.status()] == [(kind, "stopped") for kind in KINDS]
    assert servers.targets() == ()

    servers.start()

    assert [(each.kind, each.state) for each in servers.status()] == [(kind, "running") for kind in KINDS]
    assert [each.version.split(".")[0] for each in servers.status()] == ["18", "6", "2", "2"]
    assert [target.name for target, _ in servers.targets()] == [
        "postgres/local",
        "redis/local",
        "nats/local",
        "caddy/local",
    ]
    servers.stop()
    assert [(each.kind, each.state, each.pid) for each in servers.status()] == [
        (kind, "stopped", None) for kind in KINDS
    ]


def test_a_second_instance_finds_the_running_servers(servers: LocalServers, tmp_path: Path) -> None:
    servers.start()
    before = [(each.kind, each.pid, each.port) for each in servers.status()]

    again = LocalServers(tmp_path / "local")
    again.start()

    assert [(each.kind, each.pid, each.port) for each in again.status()] == before
    assert again.targets() == servers.targets()


def test_a_starter_killed_before_it_noted_the_pid_leaves_no_second_server(
    servers: LocalServers, tmp_path: Path
) -> None:
    servers.start("redis", "postgres")
    before = [(each.kind, each.pid, each.port) for each in servers.status()]
    for kind in ("redis", "postgres"):
        file = tmp_path / "local" / kind / "state.json"
        state = msgspec.json.decode(file.read_bytes())
        file.write_bytes(msgspec.json.encode({"port": state["port"], "wanted": True}))

    servers.start("redis", "postgres")

    assert [(each.kind, each.pid, each.port) for each in servers.status()] == before


def test_a_restart_keeps_the_endpoints(servers: LocalServers) -> None:
    servers.start()
    before = servers.targets()
    servers.stop()
    servers.start()
    assert servers.targets() == before, "a placement names the endpoint, so it must not change"


def test_concurrent_starts_give_one_server(servers: LocalServers, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        starts = [pool.submit(LocalServers(tmp_path / "local").start, "nats") for _ in range(3)]
    assert [start.exception() for start in starts] == [None, None, None]
    config = str(tmp_path / "local" / "nats" / "nats.conf")
    assert [pid for pid in psutil.pids() if config in command_line(pid)] == [status(servers, "nats").pid]


def test_killed_servers_are_failed_and_come_back_with_their_data_and_endpoints(servers: LocalServers) -> None:
    servers.start()
    with connect_postgres(servers) as postgres:
        postgres.execute("CREATE DATABASE kept")
    with connect_redis(servers) as cache:
        cache.set("kept", "yes")
        cache.acl_setuser("tenant", enabled=True, passwords=["+secret"])
        cache.acl_save()
    asyncio.run(add_stream(servers))
    add_route(servers)
    before = servers.targets()

    for each in servers.status():
        assert each.pid is not None
        kill(each.pid)
    assert [each.state for each in servers.status()] == ["failed"] * 4

    servers.start()

    assert servers.targets() == before, "a placement names the endpoint, so it must not change"
    with connect_postgres(servers) as postgres:
        assert postgres.execute("SELECT FROM pg_database WHERE datname = 'kept'").fetchone() is not None
    with connect_redis(servers) as cache:
        assert cache.get("kept") == b"yes"
        assert "tenant" in cache.acl_users()
    assert asyncio.run(stream_names(servers)) == ["KEPT"]
    assert route_answers(servers), "Caddy goes on with the configuration that it had"


def test_servers_outlive_their_starter(servers: LocalServers, tmp_path: Path) -> None:
    program = f"""
import os, signal, pathlib
from providers.local import LocalServers
LocalServers(pathlib.Path({str(tmp_path / "local")!r})).start("redis", "postgres")
os.killpg(os.getpgid(0), signal.SIGKILL)
"""
    starter = subprocess.run([sys.executable, "-c", program], start_new_session=True, check=False)
    assert starter.returncode == -signal.SIGKILL
    assert [each.state for each in servers.status()] == ["running", "running", "stopped", "stopped"]


def test_a_machine_without_caddy_has_all_others(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    for package in ("providers", "twin"):
        shutil.copytree(project / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
import pathlib
from providers.local import LocalServers
servers = LocalServers(pathlib.Path({str(tmp_path / "local")!r}))
try:
    servers.start()
    print([each.kind for each in servers.status()], [target.name for target, _ in servers.targets()])
    try:
        servers.start("caddy")
    except Exception as error:
        print(type(error).__name__, error.mend)
finally:
    servers.remove()
"""
    (tmp_path / "bin").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "['postgres', 'redis', 'nats'] ['postgres/local', 'redis/local', 'nats/local']",
        "Unavailable make tools",
    ], done.stderr


def test_a_port_taken_by_somebody_else_is_chosen_anew(servers: LocalServers) -> None:
    servers.start("redis")
    servers.stop("redis")
    port = status(servers, "redis").port
    with socket.create_server(("127.0.0.1", port)):
        servers.start("redis")
        assert status(servers, "redis").port != port
        with connect_redis(servers) as cache:
            assert cache.ping()


def test_somebody_else_on_the_port_of_a_dead_server_is_not_taken_for_ours(servers: LocalServers) -> None:
    servers.start("postgres")
    servers.stop("postgres")
    with socket.create_server(("127.0.0.1", status(servers, "postgres").port)):
        assert status(servers, "postgres").state == "stopped"


def test_a_server_that_cannot_start_shows_the_end_of_its_log(servers: LocalServers, tmp_path: Path) -> None:
    servers.start("nats")
    servers.stop("nats")
    (tmp_path / "local" / "nats" / "accounts.conf").write_text("A: { users: [\n")

    with pytest.raises(Unavailable, match=r"nats server does not start(.|\n)*accounts\.conf") as caught:
        servers.start("nats")

    assert caught.value.details["log"]
    assert status(servers, "nats").state == "failed"


def test_an_unknown_kind_is_refused_by_name(servers: LocalServers) -> None:
    with pytest.raises(Invalid, match="mysql"):
        servers.start("mysql")


def test_everything_is_private_and_no_secret_is_on_a_command_line(servers: LocalServers, tmp_path: Path) -> None:
    servers.start()
    secrets = {value for _, credentials in servers.targets() for value in credentials.values() if len(value) > 20}
    secrets.add((tmp_path / "local" / "postgres" / "superuser.password").read_text())
    assert len(secrets) == 5

    for directory, _, files in os.walk(tmp_path / "local"):
        # As root the account of PostgreSQL passes through ours; it and others can still list nothing.
        assert stat.S_IMODE(os.stat(directory).st_mode) in {0o700, 0o711} or "share" in directory, directory
        for file in files:
            path = Path(directory, file)
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == 0o600 or "share" in directory, path
    for pid in psutil.pids():
        assert not any(secret in command_line(pid) for secret in secrets)
    for each in servers.status():
        log = each.log.read_text()
        assert not any(secret in log for secret in secrets)


def test_the_administrator_is_no_superuser_and_can_still_make_vector_databases(servers: LocalServers) -> None:
    servers.start("postgres")
    with connect_postgres(servers) as postgres:
        assert postgres.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'twin'").fetchone() == (False,)
        postgres.execute("CREATE ROLE tenant LOGIN PASSWORD 'x'")
        postgres.execute("CREATE DATABASE theirs OWNER tenant")
    with connect_postgres(servers, "theirs") as postgres:
        postgres.execute("CREATE EXTENSION vector")
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        connect_postgres(servers, user="tenant", password="x")
    with connect_postgres(servers) as postgres:
        postgres.execute("DROP DATABASE theirs WITH (FORCE)")
        postgres.execute("DROP ROLE tenant")


async def test_nats_reloads_the_accounts_file(servers: LocalServers) -> None:
    servers.start("nats")
    client = await tenant_of_nats(servers)
    assert (await client.jetstream().account_info()).streams == 0
    await client.close()


def test_remove_leaves_nothing(servers: LocalServers, tmp_path: Path) -> None:
    servers.start("postgres", "redis")
    home = (tmp_path / "local" / "postgres" / "server").resolve()
    assert home.exists()
    servers.remove()
    assert not home.exists()
    assert list((tmp_path / "local").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
def test_as_root_postgres_runs_unprivileged_in_reachable_and_unreachable_places(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="twin-") as open_place:
        os.chmod(open_place, 0o755)
        for place, elsewhere in ((Path(open_place), False), (tmp_path, True)):
            servers = LocalServers(place / "local")
            try:
                servers.start("postgres")
                pid = status(servers, "postgres").pid
                assert psutil.Process(pid).uids().effective != 0
                assert (place / "local" / "postgres" / "server").is_symlink() is elsewhere
            finally:
                servers.remove()


def named(servers: LocalServers, name: str) -> tuple[Target, dict[str, str]]:
    return next((target, credentials) for target, credentials in servers.targets() if target.name == name)


def caddy_by_hand(servers: LocalServers) -> tuple[httpx.Client, str, int]:
    """Its admin API, where the routes are, and its port."""
    config = named(servers, "caddy/local")[0].config
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=config["admin"].removeprefix("unix/")), base_url="http://localhost"
    )
    return client, f"/config/apps/http/servers/{config['server']}/routes", config["port"]


def add_route(servers: LocalServers) -> None:
    client, path, _ = caddy_by_hand(servers)
    answer = {"handler": "static_response", "status_code": 418}
    with client:
        client.post(path, json={"match": [{"host": ["kept.localhost"]}], "handle": [answer]}).raise_for_status()


def route_answers(servers: LocalServers) -> bool:
    client, _, port = caddy_by_hand(servers)
    client.close()
    found = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": "kept.localhost"}, trust_env=False)
    return found.status_code == 418


def kill(pid: int) -> None:
    """Kill it and wait for its end (also if nobody reaps it, as in a container without an init)."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 10)
    finally:
        os.close(descriptor)


def command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def connect_postgres(servers: LocalServers, database: str = "postgres", **login: str) -> psycopg.Connection:
    target, credentials = named(servers, "postgres/local")
    who = {"user": target.config["user"], **credentials, **login}
    return psycopg.connect(
        host=target.config["host"], port=target.config["port"], dbname=database, autocommit=True, **who
    )


def connect_redis(servers: LocalServers) -> redis.Redis:
    target, credentials = named(servers, "redis/local")
    config = target.config
    return redis.Redis(host=config["host"], port=config["port"], username=config["user"], **credentials)


async def tenant_of_nats(servers: LocalServers) -> nats.NATS:
    """A client of an account that the accounts file holds."""
    target, credentials = named(servers, "nats/local")
    url = f"nats://127.0.0.1:{target.config['port']}"
    tenant = 'A1: { jetstream: enabled, users: [ { user: "t", password: "pass" } ] }\n'
    await asyncio.to_thread(Path(target.config["accounts_file"]).write_text, tenant)
    system = await nats.connect(url, user=credentials["system_user"], password=credentials["system_password"])
    await system.request(f"$SYS.REQ.SERVER.{system._server_info['server_id']}.RELOAD", b"", timeout=5)
    await system.close()
    return await nats.connect(url, user="t", password="pass")


async def add_stream(servers: LocalServers) -> None:
    client = await tenant_of_nats(servers)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await client.close()


async def stream_names(servers: LocalServers) -> list[str]:
    client = await tenant_of_nats(servers)
    names = [stream.config.name for stream in await client.jetstream().streams_info()]
    await client.close()
    return names

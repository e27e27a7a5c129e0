"""No secret leaves the vault but to those it is for: not into files, logs, history, answers or command lines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from providers.local import LocalServers
from tests.acceptance import catalogues
from tests.acceptance.asking import ask_everything, plan, run_everything
from tests.acceptance.blueprints import APP, folder
from tests.acceptance.catalogues import Opened
from tests.acceptance.conftest import Start
from tests.acceptance.leaks import Needles, command_lines, files_below, read, vault_of
from tests.acceptance.service import Service
from tests.waiting import eventually
from twin.domain.errors import Transient
from twin.testing.world import open_world

ENV = {"DATABASE_URL": "${db.secrets.url}", "REDIS_URL": "${cache.secrets.url}", "NATS_URL": "${jobs.secrets.url}"}
TELLTALE = "import os, sys\nprint('given', dict(os.environ), file=sys.stderr, flush=True)\nsys.exit(3)\n"

HOLDERS = ("token", "vault.key", "password", "*.password")
"""The files that are there to hold a secret in clear, and are ours alone: the local servers read hashes."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The embedded default, with local servers of its own: their files are searched too."""
    service = Service(tmp_path / "twin", local="on")
    yield service
    service.close()
    LocalServers(service.directory / "local").remove()


def version(path: Path, number: str, app: str) -> Path:
    """A version of a blueprint whose app gets every secret."""
    components = {
        "db": {"type": "postgres.database"},
        "cache": {"type": "redis.keyspace"},
        "jobs": {"type": "nats.stream", "inputs": {"subjects": ["jobs.>"]}},
        "app": {
            "type": "process.service",
            "inputs": {"command": ["python", "-I", "-S", "app.py"], "env": ENV, "stop_grace": 1},
        },
    }
    made = folder(path, components, name="keeper", version=number)
    (made / "app.py").write_text(app)
    return made


def test_no_secret_is_anywhere_in_clear(service: Service, tmp_path: Path) -> None:
    needles = Needles()
    with command_lines() as commands:
        first = service.serve()
        token = (service.directory / "token").read_text().strip()
        needles.add({"the admin's token": token})
        needles.add({"the vault's key": (service.directory / "vault.key").read_text().strip()})
        local = service.directory / "local"
        needles.add({f"{path}": path.read_text().strip() for path in local.rglob("*password") if path.is_file()})
        environment = live(service, tmp_path, needles)
        components = ("db", "cache", "jobs", "app")
        answers = [*ask_everything(service, environment, components, logs="app")]
        answers += run_everything(service, "dev", "app")
        answers.append(plan(service, environment, {"signal": "scale", "component": "app", "replicas": 2}))
        shown = service.api.post(f"/v1/environments/{environment}/credentials/reveal", json={"reason": "a test"})
        service.stop(first)

    data = service.directory
    # What PostgreSQL keeps may stand elsewhere, where its account can reach it: hashes, and what it writes to its log.
    places = (data, (local / "postgres" / "server").resolve())
    found = {path: needles.within(read(path)) for path in files_below(*places) if not is_holder(path)}
    assert len(found) > 1000, "a whole cluster was searched"
    assert not {path: names for path, names in found.items() if names}
    assert needles.within(read(service.log)) == set()
    assert needles.within(b"\n".join(commands)) == set()
    assert not [(told, names) for told, body in answers if (names := needles.within(body))]

    # What the servers keep of passwords, old ones and new, are hashes.
    assert b"SCRAM-SHA-256$" in b"".join(
        map(read, files_below((local / "postgres" / "server").resolve() / "data/global"))
    )
    acl = read(local / "redis" / "data" / "users.acl")
    assert b" #" in acl
    assert b" >" not in acl
    for name in ("nats.conf", "accounts.conf"):
        assert b"$2b$" in read(local / "nats" / name)

    # The search works: where secrets belong it does find them.
    assert needles.within(read(data / "token"))
    assert len(needles.within(shown.content)) >= 3
    assert any(b"postgres" in command for command in commands)
    assert any(b"app.py" in command for command in commands)
    assert hashlib.sha256(token.encode()).hexdigest().encode() in read(data / "twin.db") + read(data / "twin.db-wal")

    # And what holds them is for its owner alone.
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    holders = [path for path in files_below(data) if is_holder(path) or path.name.startswith("twin.db")]
    assert {"token", "vault.key", "twin.db", "password", "admin.password"} <= {path.name for path in holders}
    logs = list(data.rglob("*.log"))
    assert not {path: mode for path in [*holders, *logs] if (mode := path.stat().st_mode & 0o077)}


def live(service: Service, tmp_path: Path, needles: Needles) -> str:
    """A life with whatever could make a secret slip out; each secret that there ever is becomes a needle."""
    service.publish(version(tmp_path / "one", "1.0.0", APP))
    service.publish(version(tmp_path / "two", "1.1.0", TELLTALE))
    service.publish(version(tmp_path / "three", "1.2.0", "# healed\n" + APP))
    created = service.create("dev", "keeper@1.0.0")
    environment: str = created["environment_id"]
    service.succeeded(created)
    needles.add(vault_of(service.directory))
    for signal in ("suspend", "resume", "detect_drift"):
        service.succeeded(service.signal(environment, signal))
        needles.add(vault_of(service.directory))

    # Every credential there ever is: replaced ones, and those of people.
    for component in ("db", "cache", "jobs"):
        rotated = service.signal(environment, "rotate_credentials", component=component, grace="2s")
        eventually(
            lambda component=component: {"retiring", "current"} <= states(service, environment, component),
            why=service.last_lines,
        )
        needles.add(vault_of(service.directory))
        service.succeeded(rotated)
    members = [{"name": "ada@example.com"}, {"name": "bo", "role": "viewer"}]
    service.succeeded(service.signal(environment, "add_members", members=members))
    needles.add(vault_of(service.directory))
    service.succeeded(service.signal(environment, "remove_members", names=["bo"]))

    # An app that tells all it knows and dies: its last words are part of the failure, and stand in its log.
    service.signal(environment, "update", blueprint="keeper@1.1.0")
    failed = service.reaches(environment, "failed")
    assert "given" in failed["conditions"][0]["message"], "the failure quotes what the app said"
    needles.add(vault_of(service.directory))
    service.succeeded(service.signal(environment, "update", blueprint="keeper@1.2.0"))
    needles.add(vault_of(service.directory))
    assert len(needles.secrets) > 20
    return environment


def states(service: Service, environment: str, component: str) -> set[str]:
    """The states of a component's credentials."""
    listed = service.get(f"/v1/environments/{environment}/credentials")["items"]
    return {each["state"] for each in listed if each["component"] == component}


def is_holder(path: Path) -> bool:
    """Whether it is there to hold a secret."""
    return any(path.match(pattern) for pattern in HOLDERS)


def test_no_blueprint_puts_a_secret_on_a_command_line(make_service: Start, tmp_path: Path) -> None:
    """Every user of a machine can read the command lines of all its processes."""
    service = make_service()
    service.serve("--no-worker")
    for name in ("command", "build"):
        app = {"command": ["python", "app.py"], name: ["python", "app.py", "--url=${db.secrets.url}"]}
        components = {"db": {"type": "postgres.database"}, "app": {"type": "process.service", "inputs": app}}
        with pytest.raises(AssertionError, match=rf"422 .*components\.app\.inputs\.{name} refers to the secret"):
            service.publish(folder(tmp_path / name, components, name="teller"))


def test_credentials_are_shown_once_asked_for_and_that_is_recorded(make_service: Start, tmp_path: Path) -> None:
    service = make_service()
    service.serve()
    service.publish(folder(tmp_path / "cached", {"cache": {"type": "redis.keyspace"}}, name="cached"))
    created = service.create("dev", "cached")
    service.succeeded(created)
    shown = service.api.post(
        f"/v1/environments/{created['environment_id']}/credentials/reveal", json={"reason": "a test"}
    )
    assert shown.status_code == 200
    assert shown.headers["Cache-Control"] == "no-store"
    variables = shown.json()["variables"]
    assert variables["CACHE_URL"].startswith("redis://")
    (recorded,) = service.get("/v1/audit", type="fact")["items"][-1:]
    assert "credentials revealed" in recorded["summary"]
    assert recorded["actor"]["name"] == "admin"
    assert recorded["request_id"] == shown.headers["X-Request-Id"]
    assert recorded["data"]["details"]["names"] == sorted(variables)
    needles = Needles()
    needles.add({name: value for name, value in variables.items() if "URL" in name})
    assert needles.within(json.dumps(recorded).encode()) == set()


@pytest.mark.parametrize("step", ["db.observe", "db.apply", "app.apply"])
async def test_a_failure_that_quotes_a_secret_is_masked(step: str) -> None:
    """Its own, or one that it was granted: app is given the URL of db."""
    async with open_world() as world:
        environment = await world.create()
        await world.run_until_quiet()
        (database,) = [thing for thing in world.outside.standing.values() if thing.component == "db"]
        url, password = database.secrets["url"], database.secrets["password"]
        needles = Needles()
        needles.add(database.secrets)
        world.outside.fail(step, Transient(f"cannot connect to {url!r}: {password} is wrong"))
        database.inputs.clear()  # so that there is drift, and a repair
        await world.send(environment, "detect_drift")
        await world.send(environment, "update", inputs={"greeting": "hi"})
        await world.run_until_quiet()
        (failed,) = [event for event in await world.events(environment) if event.type == "step_failed"]
        assert "cannot connect to" in failed.body.decode()
        assert not [names for each in await world.events(environment) if (names := needles.within(each.body))]
        assert (await world.view(environment)).status == "ready"


def test_events_cannot_be_changed_unnoticed_on_sqlite(make_service: Start, tmp_path: Path) -> None:
    service = make_service()
    process = service.serve()
    service.publish(folder(tmp_path / "cached", {"cache": {"type": "redis.keyspace"}}, name="cached"))
    created = service.create("dev", "cached")
    service.succeeded(created)
    environment = created["environment_id"]
    assert service.verify()["findings"] == []
    service.stop(process)

    with contextlib.closing(sqlite3.connect(service.directory / "twin.db", isolation_level=None)) as intruder:
        for statement in (
            "UPDATE events SET actor_name = 'nobody'",
            "DELETE FROM events",
            "DELETE FROM events WHERE seq = 2",
            "REPLACE INTO events SELECT * FROM events",
            "UPDATE OR REPLACE events SET seq = 1",
        ):
            with pytest.raises(sqlite3.Error, match="append-only"):
                intruder.execute(statement)
        for (trigger,) in intruder.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
        ).fetchall():
            intruder.execute(f"DROP TRIGGER {trigger}")
        changed = intruder.execute(
            "UPDATE events SET body = replace(body, 'admin', 'nobody') WHERE entity = ? AND seq = 2", [environment]
        )
        assert changed.rowcount == 1

    service.serve()
    assert _named(service) == {(environment, 2)}


def test_events_cannot_be_changed_unnoticed_on_postgres(
    make_service: Start, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    server = next(each for each in opened if each[0].provider == "postgres")
    name, config = f"state_{uuid.uuid4().hex[:8]}", server[0].config
    with catalogues.postgres(server) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
        url = f"postgresql://{config['user']}:{server[1]['password']}@{config['host']}:{config['port']}/{name}"
        service = make_service(database_url=url)
        service.twin("db", "upgrade")
        service.serve("--no-worker")
        service.publish(folder(tmp_path / "cached", {"cache": {"type": "redis.keyspace"}}, name="cached"))
        environment = service.create("dev", "cached")["environment_id"]
        with psycopg.connect(url, autocommit=True) as intruder:
            for statement in (
                "UPDATE events SET actor_name = 'nobody'",
                "DELETE FROM events WHERE seq = 2",
                "TRUNCATE events",
            ):
                with pytest.raises(psycopg.Error, match="append-only"):
                    intruder.execute(statement)
            assert service.verify()["findings"] == []
            for trigger in ("events_keep_rows", "events_keep_all"):
                intruder.execute(f"DROP TRIGGER {trigger} ON events")
            changed = intruder.execute(
                "UPDATE events SET actor_name = 'nobody' WHERE entity = %s AND seq = 1", [environment]
            )
            assert changed.rowcount == 1
        assert _named(service) == {(environment, 1)}
        needles = Needles()
        needles.add({"the database's password": server[1]["password"]})
        assert needles.within(read(service.log)) == set()
        service.close()
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _named(service: Service) -> set[tuple[str, int]]:
    """The entities and numbers that a verification blames."""
    return {(finding["entity"], finding["seq"]) for finding in service.verify()["findings"]}

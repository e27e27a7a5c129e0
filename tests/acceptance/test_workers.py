"""Two workers on one PostgreSQL: one that stands still loses its step, one that is asked to end finishes its own."""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, cache, look, postgres
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

Workers = dict[int, Popen[bytes]]


@pytest.fixture
def database(opened: tuple[Opened, ...]) -> Iterator[str]:
    """The URL of an empty database for the twin's own state."""
    server = _of(opened, "postgres")
    name = f"state_{uuid.uuid4().hex[:8]}"
    config = server[0].config
    with postgres(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield f"postgresql://{config['user']}:{server[1]['password']}@{config['host']}:{config['port']}/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def fleet(make_service: Start, database: str) -> tuple[Service, Workers]:
    """An API that does not work itself, and two workers, whose lease is short."""
    service = make_service(database_url=database, lease="2s")
    service.twin("db", "upgrade")
    service.serve("--no-worker")
    workers = [service.work(), service.work()]
    return service, {worker.pid: worker for worker in workers}


def test_a_worker_that_stands_still_loses_its_step(
    fleet: tuple[Service, Workers], opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    service, workers = fleet
    service.publish(folder(tmp_path / "cached", {"cache": {"type": "redis.keyspace"}}, name="cached"))
    with _writes_held(_of(opened, "redis")):
        accepted = service.create("dev", "cached")
        environment = accepted["environment_id"]
        (started,) = eventually(lambda: service.events(environment, "step_started"), why=service.last_lines)
        frozen = _pid(started)
        workers[frozen].send_signal(signal.SIGSTOP)
        eventually(lambda: service.events(environment, "step_lost"), why=service.last_lines)
        again = eventually(lambda: service.events(environment, "step_started")[1:], why=service.last_lines)
        assert _pid(again[0]) not in (frozen, None), "another has taken it over"
    service.succeeded(accepted)
    (done,) = service.events(environment, "step_succeeded")
    assert done["data"]["epoch"] == again[-1]["data"]["epoch"] > started["data"]["epoch"]

    workers[frozen].send_signal(signal.SIGCONT)
    refused = eventually(lambda: service.events(environment, "result_refused"), why=service.last_lines)
    assert [each["data"]["epoch"] for each in refused] == [started["data"]["epoch"]]
    assert service.environment(environment)["status"] == "ready", "what came late has changed nothing"
    seen = look(opened, environment)
    assert seen.users == seen.marks == {"cache_1": 1}, "nothing is doubled"

    # The one that stood still is a worker again, with a lease of its own.
    other = next(pid for pid in workers if pid != frozen)
    service.stop(workers[other])
    destroyed = service.signal(environment, "destroy")
    service.succeeded(destroyed)
    assert {_pid(each) for each in _of_verb(service, environment, "remove")} == {frozen}
    assert look(opened, environment).empty
    assert service.verify()["findings"] == []


def test_sigterm_lets_the_running_step_end(
    fleet: tuple[Service, Workers], opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    service, workers = fleet
    gate = tmp_path / "gate"
    app = {"command": ["python", "-I", "-S", "app.py"], "build": ["python", "build.py", str(gate)]}
    path = folder(
        tmp_path / "built",
        {
            "db": {"type": "postgres.database"},
            "app": {
                "type": "process.service",
                "inputs": {**app, "env": {"DATABASE_URL": "${db.secrets.url}"}, "stop_grace": 2},
            },
        },
        name="built",
    )
    (path / "build.py").write_text(
        "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.02)\n"
    )
    service.publish(path)
    accepted = service.create("dev", "built")
    environment = accepted["environment_id"]
    started = eventually(
        lambda: [each for each in service.events(environment, "step_started") if each["component"] == "app"],
        why=service.last_lines,
    )
    worker = workers[_pid(started[0])]
    eventually(lambda: _builds(service), why=service.last_lines)
    worker.terminate()
    eventually(lambda: b'"draining"' in service.log.read_bytes(), why=service.last_lines)
    assert worker.poll() is None, "it waits for its step"
    gate.touch()
    assert worker.wait(30) == 0
    service.succeeded(accepted)
    applied = [each for each in service.events(environment, "step_succeeded") if each["component"] == "app"]
    assert [each["data"]["attempt"] for each in applied] == [1], "the attempt that ran came to its end"
    assert not service.events(environment, "step_lost", "step_stopped", "step_failed", "result_refused")

    service.succeeded(service.signal(environment, "destroy"))
    left = next(pid for pid in workers if pid != worker.pid)
    assert {_pid(each) for each in _of_verb(service, environment, "remove")} == {left}, "the other one went on"
    assert look(opened, environment).empty


@contextlib.contextmanager
def _writes_held(server: Opened) -> Iterator[None]:
    """Nobody's write to Redis comes to an end before this does."""
    with cache(server) as client:
        client.client_pause(60_000, all=False)
        try:
            yield
        finally:
            client.client_unpause()


def _of_verb(service: Service, environment: str, verb: str) -> list[Json]:
    return [each for each in service.events(environment, "step_started") if each["data"]["key"]["verb"] == verb]


def _pid(started: Json) -> int:
    """Of the worker that began the step."""
    return int(started["data"]["worker"].split("/")[1])


def _builds(service: Service) -> list[Any]:
    return list((service.directory / "processes").glob("**/build.py"))


def _of(opened: tuple[Opened, ...], provider: str) -> Opened:
    return next(each for each in opened if each[0].provider == provider)

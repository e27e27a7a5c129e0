"""Two workers on one PostgreSQL: one that stands still loses its step, one that is asked to end finishes its own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, cache, look, postgres
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

Workers = dict[int, Popen[bytes]]
Caught = Callable[[], bool]
Hold = Callable[[str], AbstractContextManager[Caught]]


@pytest.fixture
def hold(local_servers: LocalServers, opened: tuple[Opened, ...]) -> Hold:
    """Stops steps of a type in the middle of their work, for as long as one is inside of what this gives; that tells
    whether one has been stopped."""
    (place,) = (status.directory for status in local_servers.status() if status.kind == "postgres")
    superuser = (place / "superuser.password").read_text()
    holds: dict[str, Callable[[], AbstractContextManager[Caught]]] = {
        "redis.keyspace": lambda: _writes_held(_of(opened, "redis")),
        "postgres.database": lambda: _comments_held(_of(opened, "postgres"), superuser),
    }
    return lambda type_: holds[type_]()


@pytest.fixture
def fleet(make_service: Start, database: str) -> tuple[Service, Workers]:
    """An API that does not work itself, and two workers, whose lease is short."""
    service = make_service(database_url=database, lease="2s")
    service.twin("db", "upgrade")
    serving = service.start("serve", "--no-worker")
    workers = service.work(2)
    service.wait_until_ready(serving)
    return service, {worker.pid: worker for worker in workers}


@pytest.mark.parametrize(
    ("type_", "seen"),
    [
        ("redis.keyspace", {"users": {"it_1": 1}, "marks": {"it_1": 1}}),
        ("postgres.database", {"databases": {"it_1": 1}, "roles": {"it_1": 1}}),
    ],
)
def test_a_worker_that_stands_still_loses_its_step(
    fleet: tuple[Service, Workers], opened: tuple[Opened, ...], hold: Hold, tmp_path: Path, type_: str, seen: Json
) -> None:
    service, workers = fleet
    service.publish(folder(tmp_path / "single", {"it": {"type": type_}}, name="single"))
    with hold(type_) as caught:
        accepted = service.create("dev", "single")
        environment = accepted["environment_id"]
        (started,) = eventually(lambda: service.events(environment, "step_started"), why=service.last_lines)
        frozen = _pid(started)
        eventually(caught, why=service.last_lines)
        workers[frozen].send_signal(signal.SIGSTOP)
        eventually(lambda: service.events(environment, "step_lost"), why=service.last_lines)
        again = eventually(lambda: service.events(environment, "step_started")[1:], why=service.last_lines)
        assert _pid(again[0]) != frozen, "another has taken it over"
    service.succeeded(accepted)
    (done,) = service.events(environment, "step_succeeded")
    assert done["data"]["epoch"] == again[-1]["data"]["epoch"] > started["data"]["epoch"]

    workers[frozen].send_signal(signal.SIGCONT)
    refused = eventually(lambda: service.events(environment, "result_refused"), why=service.last_lines)
    assert [each["data"]["epoch"] for each in refused] == [started["data"]["epoch"]]
    assert service.environment(environment)["status"] == "ready", "what came late has changed nothing"
    found = look(opened, environment)
    assert {name: getattr(found, name) for name in seen} == seen, "nothing is doubled"

    # The one that stood still is a worker again, with a lease of its own.
    service.stop(next(worker for pid, worker in workers.items() if pid != frozen))
    service.succeeded(service.signal(environment, "destroy"))
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
def _writes_held(server: Opened) -> Iterator[Caught]:
    """Nobody's write to Redis comes to an end before this does."""
    with cache(server) as client:
        client.client_pause(60_000, all=False)
        try:
            yield lambda: client.info("clients")["blocked_clients"] > 0
        finally:
            client.client_unpause()


@contextlib.contextmanager
def _comments_held(server: Opened, superuser: str) -> Iterator[Caught]:
    """Nobody's mark on a database or role in PostgreSQL comes to an end before this does."""
    with postgres(server, user="postgres", password=superuser) as connection, connection.transaction():
        connection.execute("LOCK TABLE pg_shdescription IN SHARE MODE")
        waiting = "SELECT FROM pg_locks WHERE relation = 'pg_shdescription'::regclass AND NOT granted"
        yield lambda: connection.execute(waiting).fetchone() is not None


def _of_verb(service: Service, environment: str, verb: str) -> list[Json]:
    return [each for each in service.events(environment, "step_started") if each["data"]["key"]["verb"] == verb]


def _pid(started: Json) -> int:
    """Of the worker that began the step."""
    return int(started["data"]["worker"].split("/")[1])


def _builds(service: Service) -> list[Any]:
    return list((service.directory / "processes").glob("**/build.py"))


def _of(opened: tuple[Opened, ...], provider: str) -> Opened:
    return next(each for each in opened if each[0].provider == provider)

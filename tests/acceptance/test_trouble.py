"""What goes wrong outside: a server that is away, a right that is missing, an input that cannot work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder, small_guestbook
from tests.acceptance.catalogues import Opened, look, postgres
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually


@pytest.fixture
def service(make_service: Start) -> Service:
    """A twin that serves and works."""
    service = make_service()
    service.serve()
    return service


@pytest.fixture
def superuser(local_servers: LocalServers, opened: tuple[Opened, ...]) -> Iterator[psycopg.Connection]:
    """PostgreSQL as its own administrator; what the twin's role may do is restored afterwards."""
    (place,) = (status.directory for status in local_servers.status() if status.kind == "postgres")
    server = next(each for each in opened if each[0].provider == "postgres")
    password = (place / "superuser.password").read_text()
    with postgres(server, user="postgres", password=password) as connection:
        yield connection
        connection.execute("ALTER ROLE twin CREATEDB")


def test_a_server_that_is_away_is_waited_for(
    service: Service, local_servers: LocalServers, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    service.publish(_gated(tmp_path / "gated", gate))
    accepted = service.create("dev", "gated")
    environment = accepted["environment_id"]
    eventually(lambda: service.events(environment, "step_started"), why=service.last_lines)
    local_servers.stop("postgres")
    try:
        gate.touch()
        tries = eventually(
            lambda: len(found := service.events(environment, "step_failed")) >= 4 and found, why=service.last_lines
        )
        view = service.environment(environment)
        (condition,) = view["conditions"]
        assert (condition["kind"], condition["component"]) == ("retrying", "db")
        assert condition["attempt"] >= 4
        assert datetime.fromisoformat(condition["next_at"]) > datetime.fromisoformat(condition["since"])
        assert view["status"] == "creating", "nobody has to do anything"
        shown = service.twin("show", "shop/dev")
        assert re.search(r"at db: .*Attempt [5-9] in \d+ s \(retrying\)", shown), shown
    finally:
        local_servers.start("postgres")
    waits = [_seconds(each["data"]["failure"]["next_at"]) - _seconds(each["at"]) for each in tries[:4]]
    assert all(later > sooner for sooner, later in pairwise(waits)), f"the waits grow: {waits}"
    assert [each["data"]["attempt"] for each in tries[:4]] == [1, 2, 3, 4]
    service.succeeded(accepted, within=120)
    assert service.environment(environment)["status"] == "ready", "by itself"
    assert _applied(service, environment) == ["app", "db"], "what had succeeded was left alone"
    service.succeeded(service.signal(environment, "destroy"))
    assert look(opened, environment).empty


def test_a_missing_right_stops_many_and_is_given_once(
    service: Service, superuser: psycopg.Connection, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    service.publish(small_guestbook(tmp_path / "guestbook"))
    superuser.execute("ALTER ROLE twin NOCREATEDB")
    accepted = [service.create(name, "guestbook") for name in ("one", "two", "three")]
    environments = [each["environment_id"] for each in accepted]
    for environment in environments:
        service.reaches(environment, "blocked")
        eventually(lambda e=environment: not _running(service, e), why=service.last_lines)
    (block,) = service.get("/v1/blocks")["items"]
    assert block["key"] == "postgres/local/createdb"
    assert block["owner"] == "platform"
    assert (block["waiting"], sorted(block["environments"])) == (3, ["shop/one", "shop/three", "shop/two"])
    assert re.search(
        r'blocked \d+ (s|min) at db: role "twin" may not create databases \(.*\)\. Owner: platform\. '
        r'Mend: ALTER ROLE "?twin"? CREATEDB, then: twin blocks resolve postgres/local/createdb',
        service.twin("show", "shop/one"),
    ), service.twin("show", "shop/one")
    assert all(_applied(service, each) == ["cache", "jobs"] for each in environments), "only what needs it waits"

    superuser.execute("ALTER ROLE twin CREATEDB")
    service.twin("blocks", "resolve", "postgres/local/createdb")
    for each in accepted:
        service.succeeded(each)
    for environment in environments:
        assert service.environment(environment)["status"] == "ready"
        started = service.events(environment, "step_started")
        attempts = [(each["component"], each["data"]["attempt"]) for each in started]
        assert sorted(attempts) == [("app", 1), ("cache", 1), ("db", 1), ("db", 2), ("jobs", 1)], "went on at that step"
        assert len({str(each["data"]["key"]) for each in started if each["component"] == "db"}) == 1
        service.succeeded(service.signal(environment, "destroy"))
        assert look(opened, environment).empty


@pytest.mark.parametrize(
    ("wrong", "component", "field", "reason"),
    [
        ({"program": "no-such-program"}, "app", "command", "no-such-program"),
        ({"extension": "no_such_extension"}, "db", "extensions", "no_such_extension"),
    ],
)
def test_an_input_that_cannot_work_ends_the_operation_and_another_goes_on(
    service: Service,
    opened: tuple[Opened, ...],
    tmp_path: Path,
    wrong: dict[str, str],
    component: str,
    field: str,
    reason: str,
) -> None:
    service.publish(_choosable(tmp_path / "choosable"))
    accepted = service.create("dev", "choosable", inputs=wrong)
    environment = accepted["environment_id"]
    view = service.reaches(environment, "failed")
    (condition,) = view["conditions"]
    assert (condition["kind"], condition["component"]) == ("failed", component)
    assert reason in condition["message"]
    assert field in condition["field"]
    operation = service.operation(accepted)
    assert operation["status"] == "failed"
    assert reason in operation["error"]["message"]
    attempts = len(service.events(environment, "step_started"))

    right: dict[str, Any] = dict.fromkeys(wrong)  # back to the default
    service.succeeded(service.signal(environment, "update", inputs=right))
    assert service.reaches(environment, "ready")["conditions"] == []
    assert len(service.events(environment, "step_started")) > attempts
    service.succeeded(service.signal(environment, "destroy"))
    assert look(opened, environment).empty


def _gated(path: Path, gate: Path) -> Path:
    """A database that is made once an app stands whose build waits for a file."""
    build = ["python", "build.py", str(gate)]
    app = {"command": ["python", "-I", "-S", "app.py"], "build": build, "env": {"DATABASE_URL": ""}, "stop_grace": 2}
    components = {
        "app": {"type": "process.service", "inputs": app},
        "db": {"type": "postgres.database", "needs": ["app"]},
    }
    folder(path, components, name="gated")
    waits = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.02)\n"
    (path / "build.py").write_text(waits)
    return path


def _choosable(path: Path) -> Path:
    """A database and an app whose essentials can be chosen wrongly."""
    app = {"command": ["${inputs.program}", "-I", "-S", "app.py"], "env": {"DATABASE_URL": "${db.secrets.url}"}}
    return folder(
        path,
        {
            "db": {"type": "postgres.database", "inputs": {"extensions": ["${inputs.extension}"]}},
            "app": {"type": "process.service", "inputs": {**app, "stop_grace": 2}},
        },
        name="choosable",
        inputs={
            "properties": {
                "program": {"type": "string", "default": "python"},
                "extension": {"type": "string", "default": "vector"},
            }
        },
    )


def _applied(service: Service, environment: str) -> list[str]:
    return sorted(each["component"] for each in service.events(environment, "step_succeeded"))


def _running(service: Service, environment: str) -> list[Json]:
    steps: list[Json] = service.environment(environment)["plan"]["steps"]
    return [step for step in steps if step["state"] in ("running", "ready")]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

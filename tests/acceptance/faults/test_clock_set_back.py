"""PostgreSQL's clock is set back by hours while steps wait and expiries are to come: all ends as it would have."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from subprocess import Popen

import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.clocks import SetClock
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

Served = tuple[Service, Popen[bytes]]


@pytest.fixture
def served(make_service: Start, database: str, set_clock: SetClock, tmp_path: Path) -> Served:
    """A service on that database, with a blueprint, and its process; the clock is right."""
    service = make_service(database_url=database, lease="2s")
    service.twin("db", "upgrade")
    process = service.serve()
    stream = {"type": "nats.stream", "inputs": {"subjects": ["it.>"]}}
    service.publish(folder(tmp_path / "single", {"it": stream}, name="single"))
    return service, process


@pytest.mark.parametrize("killed", [False, True], ids=["while-it-runs", "while-it-was-killed"])
def test_a_step_that_waits_goes_on_after_its_own_wait(
    served: Served, set_clock: SetClock, local_servers: LocalServers, opened: tuple[Opened, ...], killed: bool
) -> None:
    service, process = served
    local_servers.stop("nats")
    try:
        accepted = service.create("dev", "single")
        environment = accepted["environment_id"]
        eventually(lambda: len(service.events(environment, "step_failed")) >= 2, why=service.last_lines)
        if killed:
            service.kill(process)
        set_clock("-5 hours")
    finally:
        local_servers.start("nats")
    if killed:
        service.serve()
    service.succeeded(accepted, within=60)
    assert "the clock was set back" in service.log.read_text()
    assert look(opened, environment).streams == {"it_1": 1}
    moments = [event["at"] for event in service.events(environment)]
    assert moments == sorted(moments)
    service.succeeded(service.signal(environment, "destroy"))
    assert look(opened, environment).empty
    assert service.verify()["findings"] == []


def test_an_expiry_comes_when_the_clock_says_so(
    served: Served, set_clock: SetClock, opened: tuple[Opened, ...]
) -> None:
    service, _ = served
    accepted = service.create("dev", "single", ttl="1h")
    service.succeeded(accepted)
    environment = accepted["environment_id"]
    told = _expiry(service, environment)
    set_clock("-5 hours")
    service.succeeded(service.signal(environment, "scale", component="it", max_messages=500))
    assert _expiry(service, environment) == told, "what people were told stays true"
    set_clock("2 hours")
    service.reaches(environment, "destroying", "destroyed", within=60)
    set_clock("-5 hours")
    service.reaches(environment, "destroyed", within=60)
    assert look(opened, environment).empty
    (begun,) = (e for e in service.events(environment, "operation_accepted") if e["actor"]["kind"] == "timer")
    assert datetime.fromisoformat(begun["at"]) >= datetime.fromisoformat(told)
    assert service.verify()["findings"] == []


def _expiry(service: Service, environment: str) -> str:
    view: Json = service.environment(environment)
    return str(view["expires_at"])

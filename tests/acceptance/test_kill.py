"""`kill -9` of the service at thirty random moments: nothing is lost, nothing doubled, nothing left behind."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import small_guestbook
from tests.acceptance.catalogues import Catalogues, look
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

KILLS = 30
PER_PHASE = 3
SEED = 20_310
MOMENT = 0.15
"""Seconds; about as long as a step takes."""
PATIENCE = 1.5
"""Seconds for which work is awaited that may be done already."""

Phase = Callable[[Service, str], Json]
"""Sends the signal to the environment of that name; what was accepted."""


def _create(service: Service, name: str) -> Json:
    return service.create(name, "guestbook")


def _scale(service: Service, name: str) -> Json:
    return service.signal(_id(service, name), "scale", component="app", replicas=3)


def _replace(service: Service, name: str) -> Json:
    other = {"locale": "C", "storage": "memory"}
    return service.signal(_id(service, name), "update", inputs=other, allow_data_loss=True)


def _destroy(service: Service, name: str) -> Json:
    return service.signal(_id(service, name), "destroy")


PHASES: dict[str, Phase] = {"create": _create, "scale": _scale, "replace": _replace, "destroy": _destroy}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Service]:
    """A twin as `twin serve` makes it by default: SQLite, and local servers that outlive it."""
    service = Service(tmp_path / "twin")
    yield service
    service.close()
    LocalServers(service.directory / "local").remove()


class Killer:
    """Kills the service and starts it again, at random moments of its work.

    A moment is a number of steps begun or ended since the start, as the log tells, and a part of a second more.
    """

    def __init__(self, service: Service, seed: int) -> None:
        self.service = service
        self.moments: list[datetime] = []
        self._random = random.Random(seed)
        self._process = service.serve()

    def measure(self, accepted: Json) -> int:
        """How many steps begin and end when nobody disturbs."""
        before = self._steps()
        self.service.succeeded(accepted)
        return self._steps() - before

    def strike(self, steps: int, times: int) -> None:
        """So many times: let the work of `steps` go on to a random moment of it, kill, start again."""
        for number in range(times):
            # What is left after a kill, and is found and adopted, goes faster than the first time.
            until = self._steps() + self._random.randrange(max(1, steps - 1) if number == 0 else max(1, steps // 3))
            self._let_work(until)
            with pytest.raises(subprocess.TimeoutExpired):  # else it ended by itself
                self._process.wait(self._random.uniform(0, MOMENT))
            self.service.kill(self._process)
            self.moments.append(datetime.now(UTC))
            _check_nothing_is_doubled(self.service)
            self._restart()
        self.service.wait_until_ready(self._process)

    def _restart(self) -> None:
        """Until it works again; its API may take a moment longer."""
        ready = self._count(b'"worker ready"')
        self._process = self.service.start("serve")
        eventually(
            lambda: self._count(b'"worker ready"') > ready or self._process.poll() is not None,
            within=60,
            why=self.service.last_lines,
        )

    def _let_work(self, until: int) -> None:
        """Until so many steps have begun or ended, or, if fewer were left, for a while."""
        enough = time.monotonic() + PATIENCE
        eventually(lambda: self._steps() >= until or time.monotonic() > enough)

    def _steps(self) -> int:
        return self._count(b'"step started"') + self._count(b'"step ended"')

    def _count(self, words: bytes) -> int:
        return self.service.log.read_bytes().count(words)

    def end(self) -> None:
        """SIGTERM."""
        self.service.stop(self._process)


@pytest.mark.timeout(600)
def test_thirty_kills(embedded: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = embedded
    killer = Killer(service, SEED)
    service.publish(small_guestbook(tmp_path / "guestbook"))
    steps = {phase: killer.measure(send(service, "calm")) for phase, send in PHASES.items()}

    at_work: Counter[str] = Counter()
    rounds = 0
    while len(killer.moments) < KILLS:
        rounds += 1
        for phase, send in PHASES.items():
            before = len(killer.moments)
            accepted = send(service, f"shaken-{rounds}")
            killer.strike(steps[phase], min(PER_PHASE, KILLS - before))
            service.succeeded(accepted)
            ended = datetime.fromisoformat(service.operation(accepted)["ended_at"])
            at_work[phase] += sum(moment < ended for moment in killer.moments[before:])
            _check(service, accepted["environment_id"], phase)

    with capsys.disabled():
        sys.stderr.write(f"\nseed {SEED}: {KILLS} kills, of them at work {dict(at_work)}; steps when calm: {steps}\n")
    assert len(killer.moments) == KILLS
    assert at_work.total() >= KILLS // 2, "most kills interrupted something"
    for environment in service.environments:
        view = service.environment(environment)
        assert view["status"] == "destroyed"
        assert view["certificate"], "proven, not believed"
        assert _seen(service, environment).empty
        _each_ended_once(service, environment)
    assert service.verify()["findings"] == []
    killer.end()


def _check(service: Service, environment: str, phase: str) -> None:
    """Each thing stands exactly once, or, in the end, nothing."""
    seen = _seen(service, environment)
    if phase == "destroy":
        assert seen.empty, (phase, seen)
        return
    incarnation = 2 if phase == "replace" else 1
    once = {f"db_{incarnation}": 1}
    assert seen.databases == once, (phase, seen)
    assert seen.roles == once, (phase, seen)
    assert seen.logins == {f"ta_db_{incarnation}": 1}, (phase, seen)
    assert seen.users == seen.marks == {"cache_1": 1}, (phase, seen)
    assert seen.accounts == seen.streams == {f"jobs_{incarnation}": 1}, (phase, seen)
    replicas = 1 if phase == "create" else 3
    assert sorted(name.split()[1].partition("-")[0] for name in seen.replicas) == [str(n) for n in range(replicas)]
    assert set(seen.replicas.values()) == {1}, "one app per slot"
    assert seen.processes == 2 * replicas, "an app and its supervisor each, and nobody else"


def _check_nothing_is_doubled(service: Service) -> None:
    """Also in the middle of the work, with nobody to mend it."""
    for environment in service.environments[-1:]:
        seen = _seen(service, environment)
        assert set(seen.replicas.values()) <= {1}, "one app per slot"
        for names in (seen.databases, seen.roles, seen.logins, seen.users, seen.accounts, seen.streams):
            assert set(names.values()) <= {1}, seen
            assert len(names) <= 2, ("one, and the incarnation that replaces it", seen)


def _each_ended_once(service: Service, environment: str) -> None:
    accepted = [event["data"]["operation"]["id"] for event in service.events(environment, "operation_accepted")]
    ended = [event["data"]["operation_id"] for event in service.events(environment, "operation_ended")]
    assert sorted(accepted) == sorted(ended), "every operation ended, exactly once"
    outcomes = {event["data"]["outcome"] for event in service.events(environment, "operation_ended")}
    assert outcomes == {"succeeded"}


def _seen(service: Service, environment: str) -> Catalogues:
    return look(LocalServers(service.directory / "local").targets(), environment)


def _id(service: Service, name: str) -> str:
    view: Any = service.get(f"/v1/projects/shop/environments/{name}")
    return str(view["id"])

"""`kill -9` of the service, of the runner and of Pulumi's CLI, at random moments of what a stack goes through.

Every resource is there exactly once, nobody has to do anything, and world, state and twin agree. The moments are
seeded; the test lists them, and docs/pulumi-kills.md those of one run.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from msgspec import Struct

from providers.pulumi.client import CHILD
from tests.acceptance.service import Json
from tests.acceptance.stacks import AwsWorld, SlowWorld, StackService, World, stack_of
from tests.aws import Aws
from tests.waiting import eventually

KILLS = 25
PER_PHASE = 2
SEED = int(os.environ.get("TWIN_TEST_SEED", "50125"))
SECONDS = 0.2
"""How long the slow example's cloud takes for each change."""
PATIENCE = 90.0
"""Seconds after which something would have had to happen."""
PHASES = ("up", "update", "destroy")
VICTIMS = ("service", "runner", "CLI")


class Moment(Struct, frozen=True):
    """When what was killed: `share` of the time that the step takes when nobody disturbs it, `doing` what the CLI was
    at, `pending` how many operations on resources it has left open."""

    world: str
    phase: str
    victim: str
    share: float
    seconds: float
    doing: str
    pending: int

    def __str__(self) -> str:
        where = f"{self.world} {self.phase}".ljust(16)
        left = f"{self.pending} pending" if self.pending else ""
        return f"{where} {self.victim:8} {self.share:4.0%} {self.seconds:6.2f} s  {self.doing:16} {left}".rstrip()


class Killer:
    """Kills what it is told at moments of a step, and has the service back at once."""

    def __init__(self, service: StackService, seed: int) -> None:
        self.service = service
        self.moments: list[Moment] = []
        self._random = random.Random(seed)
        self._process = service.serve()

    def calm(self, accepted: Json) -> float:
        """How many seconds a step takes when nobody disturbs it."""
        self.service.succeeded(accepted)
        operation = self._operation(accepted)
        began, ended = (datetime.fromisoformat(operation[name]) for name in ("accepted_at", "ended_at"))
        return (ended - began).total_seconds()

    def strike(self, world: World, phase: str, name: str, calm: float, times: int) -> Json:
        """Have it done, and so many times, or until it is done: let an attempt run to a random moment, kill, go on.
        What was accepted, when it has succeeded."""
        seen = self._begun()
        accepted = _send(self.service, world, phase, name)
        for _ in range(times):
            victim, share = self._random.choice(VICTIMS), self._random.random()
            self._await_attempt(accepted, seen)
            start = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(share * calm)
            found = self._await_victim(accepted, victim)
            if found is None:
                break
            seen = self._begun()
            doing, seconds = self._doing(), time.monotonic() - start
            if victim == "service":
                self.service.kill(self._process)
                self._process = self.service.start("serve")
            else:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.kill()
            state = self.service.state(stack_of(accepted["environment_id"], world.component))
            pending = len(state["pending"]) if state else 0
            self.moments.append(Moment(world.blueprint, phase, victim, share, seconds, doing, pending))
        self.service.wait_until_ready(self._process)
        self.service.succeeded(accepted)
        return accepted

    def _await_attempt(self, accepted: Json, seen: int) -> None:
        """Until one begins, or none will."""
        eventually(lambda: self._begun() > seen or self._ended(accepted), within=PATIENCE, why=self.service.last_lines)

    def _await_victim(self, accepted: Json, victim: str) -> psutil.Process | None:
        """A process to be killed, or None if the work is done."""

        def found() -> psutil.Process | bool | None:
            if self._ended(accepted):
                return True
            return psutil.Process(self._process.pid) if victim == "service" else self._child(victim)

        process = eventually(found, within=PATIENCE, why=self.service.last_lines)
        return process if isinstance(process, psutil.Process) else None

    def _begun(self) -> int:
        """Attempts so far."""
        return self.service.log.read_bytes().count(b'"step started"')

    def _ended(self, accepted: Json) -> bool:
        with contextlib.suppress(Exception):  # a service that starts does not answer yet
            return bool(self._operation(accepted)["status"] != "running")
        return False

    def _operation(self, accepted: Json) -> Json:
        found: Json = self.service.get(f"/v1/operations/{accepted['operation']['id']}")
        return found

    def _child(self, victim: str) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    command = each.cmdline()
                    is_cli = each.name() == "pulumi"
                    is_runner = str(CHILD) in command
                    if is_cli if victim == "CLI" else is_runner:
                        return each
        return None

    def _doing(self) -> str:
        cli = self._child("CLI")
        if cli is None:
            return "runner" if self._child("runner") else "service"
        with contextlib.suppress(psutil.Error):
            words = [word for word in cli.cmdline()[1:] if not word.startswith("-")]
            return "pulumi " + " ".join(words[:2] if words[0] == "stack" else words[:1])
        return "pulumi"


@pytest.fixture
def service(tmp_path: Path, aws: Aws) -> Iterator[StackService]:
    service = StackService(tmp_path / "twin", aws)
    yield service
    service.close()


@pytest.mark.timeout(1200)
def test_twenty_five_kills(service: StackService, aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killer = Killer(service, SEED)
    worlds: tuple[World, ...] = (AwsWorld(aws), SlowWorld(tmp_path / "cloud", SECONDS))
    calm: dict[tuple[str, str], float] = {}
    for world in worlds:
        service.publish(world.folder)
        for phase in PHASES:
            accepted = _send(service, world, phase, "calm")
            calm[world.blueprint, phase] = killer.calm(accepted)
            _check(service, world, phase, accepted["environment_id"])

    rounds = 0
    while len(killer.moments) < KILLS:
        rounds += 1
        for world in worlds:
            for phase in PHASES:
                times = min(PER_PHASE, KILLS - len(killer.moments))
                accepted = killer.strike(world, phase, f"shaken-{rounds}", calm[world.blueprint, phase], times)
                _check(service, world, phase, accepted["environment_id"])

    with capsys.disabled():
        undisturbed = ", ".join(f"{' '.join(each)} {seconds:.1f} s" for each, seconds in calm.items())
        lines = [f"{number:2} {moment}" for number, moment in enumerate(killer.moments, 1)]
        sys.stderr.write("\n".join([f"\nseed {SEED}; undisturbed: {undisturbed}", *lines, ""]))
    for environment in service.environments:
        _nobody_had_to_do_anything(service, environment)
    assert service.verify()["findings"] == []
    assert Counter(moment.phase for moment in killer.moments).keys() == set(PHASES)


def _send(service: StackService, world: World, phase: str, name: str) -> Json:
    name = f"{world.blueprint}-{name}"
    if phase == "up":
        return service.create(name, world.blueprint, inputs=world.create)
    environment = service.get(f"/v1/projects/shop/environments/{name}")["id"]
    return (
        service.signal(environment, "destroy")
        if phase == "destroy"
        else service.signal(environment, "update", inputs=world.update)
    )


def _check(service: StackService, world: World, phase: str, environment: str) -> None:
    if phase != "destroy":
        service.check(world, environment, updated=phase == "update")
    else:
        gone = service.environment(environment)
        assert gone["status"] == "destroyed"
        (proof,) = gone["certificate"]["resources"]
        world.check_gone(proof["external_id"])
        assert service.state(proof["external_id"]) is None
    assert service.locks() == []


def _nobody_had_to_do_anything(service: StackService, environment: str) -> None:
    """Nothing was blocked and nothing was given up: what failed has failed in passing."""
    events = service.events(environment, "step_failed", "operation_ended")
    failures = [event["data"]["failure"] for event in events if event["type"] == "step_failed"]
    assert {failure["kind"] for failure in failures} <= {"transient"}, failures
    assert {event["data"]["outcome"] for event in events if event["type"] == "operation_ended"} == {"succeeded"}

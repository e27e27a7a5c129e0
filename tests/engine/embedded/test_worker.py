"""The worker: within its limits, and out of the door without losing anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.engine.embedded.conftest import Employ
from tests.waiting import soon
from twin.domain.events import StepLost, StepStarted, StepStopped, StepSucceeded
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.domain.targets import Target
from twin.engine.attempts import Attempt
from twin.engine.embedded.rates import Rates
from twin.engine.embedded.worker import Worker
from twin.ports.store import Tx
from twin.service.twins import Twins
from twin.testing.blueprints import TARGETS, TYPES
from twin.testing.world import World

ON_DATA = ("db.apply", "cache.apply", "jobs.apply")


async def test_a_worker_makes_an_environment_ready(world: World, employ: Employ) -> None:
    employ()
    environment = await world.create()
    await _ready(world, environment)
    assert len(world.outside.standing) == 4


@pytest.mark.parametrize(
    ("limits", "slots", "most", "reason"),
    [
        ({"concurrency": 1}, 16, 1, "the target takes one"),
        ({"concurrency": 2}, 16, 2, "the target takes two"),
        ({"concurrency": 4}, 2, 2, "the worker has two hands"),
        ({"concurrency": 4}, 16, 3, "nothing holds the three that need nothing"),
    ],
)
async def test_no_more_run_at_once_than_target_and_worker_allow(
    world: World, employ: Employ, limits: dict[str, int], slots: int, most: int, reason: str
) -> None:
    await _limit(world, **limits)
    for step in ON_DATA:
        world.outside.hold(step)
    environment = await world.create()
    employ(slots=slots)
    for done in range(len(ON_DATA)):
        await soon(lambda done=done: _held(world, min(most, len(ON_DATA) - done)))
        world.outside.let_go(world.outside.calls[done][0])
    await _ready(world, environment)
    running, peak = 0, 0
    for recorded in await world.events(environment):
        running += isinstance(recorded.event, StepStarted) - isinstance(recorded.event, StepSucceeded)
        peak = max(peak, running)
    assert peak == most, reason


def test_a_rate_holds_further_starts_for_a_minute() -> None:
    rates, limited, free = Rates(), Target(name="a", provider="x", rate=2), Target(name="b", provider="x")
    assert rates.free((limited, free), ("a", "b"), 9, {}) == {"a": 2, "b": 8}
    assert rates.wait((limited, free)) is None
    rates.started("a")
    rates.started("b")
    assert rates.free((limited, free), ("a", "b"), 9, {}) == {"a": 1, "b": 8}
    rates.started("a")
    assert rates.free((limited, free), ("a", "b"), 9, {}) == {"b": 8}, "none now"
    wait = rates.wait((limited, free))
    assert wait is not None
    assert 0 < wait <= 60


@pytest.mark.parametrize(
    ("queues", "most", "running", "free", "reason"),
    [
        (("a",), 9, {"a": 7}, [("a", 9)], "nobody else wants anything"),
        (("a", "b"), 1, {"a": 7}, [("b", 1), ("a", 1)], "it runs the fewest, and comes first"),
        (("a", "b", "c"), 9, {"b": 1}, [("a", 7), ("c", 7), ("b", 7)], "no one takes what is left for the others"),
        (("a", "b", "c"), 2, {}, [("a", 1), ("b", 1), ("c", 1)], "each may have one, as far as it goes"),
    ],
)
def test_queues_share_what_is_free(
    queues: tuple[str, ...], most: int, running: dict[str, int], free: list[tuple[str, int]], reason: str
) -> None:
    assert list(Rates().free((), queues, most, running).items()) == free, reason


def test_whoever_had_a_turn_the_longest_ago_is_next() -> None:
    rates = Rates()
    for last, following in (("a", "b"), ("b", "c"), ("c", "a")):
        rates.started(last)
        assert next(iter(rates.free((), ("c", "b", "a"), 1, {}))) == following


@pytest.mark.parametrize("slow", ["data-1", "run-1"])
async def test_a_place_that_answers_slowly_keeps_no_other_from_its_turn(
    world: World, employ: Employ, slow: str
) -> None:
    """However much waits for it, and whatever it is called."""
    employ(slots=1)
    living = [await world.create(name) for name in ("one", "two", "three")]
    for environment in living:
        await _ready(world, environment)
    slowly = ON_DATA if slow == "data-1" else ("app.apply",)
    for step in slowly:
        world.outside.hold(step)
    if slow == "data-1":
        await world.create("four")
        await soon(lambda: _held(world, 1))
        await world.send(living[0], "scale", component="app", replicas=3)
    else:
        for environment in living:
            await world.send(environment, "scale", component="app", replicas=3)
        await soon(lambda: _held(world, 1))
        await world.create("four")
    assert sorted(await world.store.queues()) == ["data-1", "run-1"]
    held, before = world.outside.calls[-1][0], len(world.outside.calls)
    world.outside.let_go(held)
    world.outside.hold(held)

    async def goes_on() -> bool:
        return len(world.outside.calls) > before

    await soon(goes_on)
    assert world.outside.calls[before][0] not in slowly


def test_the_starts_of_a_target_without_a_rate_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, seconds = Rates(), count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    for _ in range(1000):
        rates.started("a")
    assert len(rates._started["a"]) <= 60


async def test_what_a_newer_version_wrote_stops_no_other_timer(world: World, employ: Employ, tmp_path: Path) -> None:
    newer, other = await world.create("newer", ttl=0), await world.create("other", ttl=0)
    with closing(sqlite3.connect(tmp_path / "twin.db")) as connection:
        connection.execute("UPDATE entities SET schema_v = 999 WHERE id = ?", (newer,))
        connection.commit()
    employ()
    await soon(lambda: _is_destroyed(world, other))


async def test_a_worker_keeps_to_a_rate(world: World, employ: Employ) -> None:
    await _limit(world, rate=2)
    employ()
    environment = await world.create()
    await soon(lambda: _count(world, environment, StepSucceeded, 2))
    # It goes on looking: what is due on another target is done, and the third step here still waits.
    other = await world.create("other")
    await world.send(other, "destroy")
    await soon(lambda: _is_destroyed(world, other))
    assert len(await _of(world, environment, StepStarted)) == 2
    assert await world.store.queues() == ["data-1"]


async def test_asked_to_stop_it_lets_its_step_end_and_begins_no_other(world: World, employ: Employ) -> None:
    world.outside.hold("db.apply")
    worker = employ(drain=30.0)
    environment = await world.create()
    await soon(lambda: _count(world, environment, StepSucceeded, 2))
    await soon(lambda: _held(world, 1))
    worker.stop()
    world.outside.let_go("db.apply")
    await soon(lambda: _count(world, environment, StepSucceeded, 3))
    await soon(lambda: _has_left(world))
    assert await world.store.queues() == ["run-1"], "what the result made due is left to others"
    assert not await _of(world, environment, StepLost, StepStopped)


async def test_what_does_not_end_in_time_is_stopped_and_goes_on_elsewhere(world: World, employ: Employ) -> None:
    world.outside.hold("db.apply")
    worker = employ(drain=0.05)
    environment = await world.create()
    await soon(lambda: _held(world, 1))
    worker.stop()
    await soon(lambda: _has_left(world))
    assert len(await _of(world, environment, StepStopped)) >= 1
    world.outside.let_go("db.apply")
    employ()
    await _ready(world, environment)
    assert not await _of(world, environment, StepLost), "that was no death"


async def test_a_start_whose_commit_nobody_has_answered_goes_on_within_a_renewal(world: World, employ: Employ) -> None:
    lease = 9.0
    worker = employ(lease=lease)
    await soon(_is_working(worker))
    twins = Twins(world.store, TYPES, world.changes, world.clock, Unanswered(worker))
    create = parse({"signal": "create", "name": "dev", "project": "shop", "blueprint": "guestbook"})
    assert isinstance(create, Create)
    environment = (await twins.create(create, world.request())).environment_id
    assert await _count(world, environment, StepStarted, 3)
    assert not world.outside.standing, "begun, and run by nobody"
    await soon(lambda: _has_one(world, environment, StepLost), within=lease / 3 + 1)
    await _ready(world, environment)
    assert await _count(world, environment, StepLost, 3)


class Unanswered:
    """Begins, and never hears that this was committed."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, tx: Tx, kind: str, entity: str) -> Sequence[Attempt]:
        return self._worker.begin(tx, kind, entity)

    def launch(self, begun: Sequence[Attempt]) -> None:
        pass


def _is_working(worker: Worker) -> Callable[[], Awaitable[bool]]:
    async def working() -> bool:
        return worker.working

    return working


async def _has_one(world: World, environment: str, type_: type[Any]) -> bool:
    return not await _count(world, environment, type_, 0)


async def test_a_fault_in_one_step_stops_no_other(world: World, employ: Employ) -> None:
    world.outside.fail("cache.apply", RuntimeError("a fault in the provider"))
    employ()
    environment = await world.create()
    await soon(lambda: _count(world, environment, StepSucceeded, 2))
    conditions = (await world.view(environment)).conditions
    assert [(each.kind, each.component) for each in conditions] == [("failed", "cache")]


async def _limit(world: World, **limits: int) -> None:
    def place(tx: Tx) -> None:
        tx.put_target(replace(TARGETS[0], **limits))

    await world.store.transact(place)


async def _held(world: World, number: int) -> bool:
    return world.outside.held == number


async def _of(world: World, environment: str, *types: type[Any]) -> list[Any]:
    return [each.event for each in await world.events(environment) if isinstance(each.event, types)]


async def _count(world: World, environment: str, type_: type[Any], number: int) -> bool:
    return len(await _of(world, environment, type_)) == number


async def _ready(world: World, environment: str) -> None:
    async def ready() -> bool:
        return (await world.view(environment)).status == "ready"

    await soon(ready)


async def _is_destroyed(world: World, environment: str) -> bool:
    return (await world.view(environment)).status == "destroyed"


async def _has_left(world: World) -> bool:
    """Whether no worker is registered any more, nor holds anything."""
    return not await world.store.dead(-60.0)

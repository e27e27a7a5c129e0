"""The clock is set back by hours: steps wait as long as their failure says, and not until it has come there again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from twin.domain.errors import Transient
from twin.domain.events import StepFailed, StepStarted, StepSucceeded
from twin.engine.embedded.reaper import Reaper
from twin.testing.inline import WORKER
from twin.testing.world import World

BACK = timedelta(hours=5)
LONGEST = timedelta(seconds=60)
"""Of a wait after a failed attempt."""


@pytest.mark.parametrize("known", [True, False], ids=["while-it-runs", "while-it-was-stopped"])
async def test_a_waiting_step_goes_on_after_its_own_wait(world: World, known: bool) -> None:
    worker = _reaper(world)
    environment = await _failing(world, times=6)
    if known:
        await worker.reap()
    world.clock.advance(-BACK)
    began = world.clock.now()
    await worker.reap()
    await world.run_until_quiet()
    assert (await world.view(environment)).status == "ready"
    assert world.clock.now() - began < 6 * LONGEST
    events = [each.event for each in await world.events(environment)]
    assert len([each for each in events if isinstance(each, StepStarted) and each.key.component == "db"]) == 7
    assert len([each for each in events if isinstance(each, StepSucceeded)]) == 4


async def test_its_waits_still_grow(world: World) -> None:
    """Each is as long as if nothing had happened, though the history stands still meanwhile."""
    environment = await _failing(world, times=6)
    world.clock.advance(-BACK)
    await _reaper(world).reap()
    waits: list[float] = []
    for _ in range(5):
        began = world.clock.now()
        await _next_attempt(world)
        assert not await world.engine.run_due(), "it waits again"
        waits.append((world.clock.now() - began).total_seconds())
    assert waits[0] >= 0.5
    assert waits[-1] >= 8, waits
    assert waits == sorted(waits)
    failed = [each.event for each in await world.events(environment) if isinstance(each.event, StepFailed)]
    assert len(failed) == 6


async def test_what_happens_to_the_twin_meanwhile_does_not_begin_its_wait_anew(world: World) -> None:
    environment = await _failing(world, times=1)
    world.clock.advance(-BACK)
    await _reaper(world).reap()
    due = await world.store.next_due()
    assert due is not None
    assert due - world.clock.now() <= LONGEST
    world.clock.advance((due - world.clock.now()) / 2)
    await world.send(environment, "scale", component="app", replicas=2)
    assert await world.store.next_due() == due
    await _reaper(world).reap()
    assert await world.store.next_due() == due


async def test_what_is_due_at_once_is_due_now(world: World) -> None:
    await _dead_in_its_call(world)
    world.clock.advance(-BACK)
    await _reaper(world).reap()
    assert await world.store.next_due() == world.clock.now()
    await world.run_until_quiet()


async def test_a_sweep_still_waits_until_a_dead_workers_call_has_settled(world: World) -> None:
    """Waits are counted whole from the moment at which the clock is known to be wrong: never too short."""
    environment = await _dead_in_its_call(world)
    await world.send(environment, "destroy")
    while await world.engine.run_due():
        pass
    due = await world.store.next_due()
    assert due is not None
    settles = due - world.clock.now()
    assert settles > LONGEST
    world.clock.advance(-BACK)
    await _reaper(world).reap()
    assert await world.store.next_due() == world.clock.now() + settles
    await world.run_until_quiet()
    assert (await world.view(environment)).status == "destroyed"


async def test_an_expiry_stays_the_time_that_people_were_told(world: World) -> None:
    environment = await world.create(ttl="2h")
    await world.engine.run_due()
    expires = (await world.env(environment)).desired.expires_at
    world.clock.advance(-BACK)
    await _reaper(world).reap()
    await world.run_until_quiet()
    assert (await world.view(environment)).status == "destroyed"
    assert expires is not None
    assert expires <= world.clock.now() < expires + LONGEST


def _reaper(world: World) -> Reaper:
    return Reaper(world.store, world.executor, 60.0, WORKER, tuple)


async def _failing(world: World, times: int) -> str:
    """A twin whose database has failed once."""
    for _ in range(times):
        world.outside.fail("db.apply", Transient("not now"))
    environment = await world.create()
    while await world.engine.run_due():
        pass
    return environment


async def _dead_in_its_call(world: World) -> str:
    """A twin, one of whose steps has begun on a worker that is gone."""
    environment = await world.create()
    ghost = world.make_executor("ghost")
    ghost.room = lambda: 1
    (begun,) = await world.store.transact(lambda tx: ghost.begin(tx, environment))
    assert await world.executor.lost(begun.task, proven_dead=False)
    return environment


async def _next_attempt(world: World) -> datetime:
    due = await world.store.next_due()
    assert due is not None
    world.clock.move_to(due)
    while await world.engine.run_due():
        pass
    return due

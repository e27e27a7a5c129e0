"""Reapers free what the dead held, once, and leave the living alone."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from tests.waiting import soon
from twin.domain.events import ResultRefused, StepLost, StepStarted, StepSucceeded
from twin.engine.embedded.reaper import Reaper
from twin.ports.store import Claimed
from twin.testing.world import World

GHOST = "elsewhere.example/1/1/ghost"
NOW = 0.0
"""A lease that is over at once."""


async def test_a_living_worker_keeps_its_step(world: World) -> None:
    environment, step = await _held(world, GHOST)
    assert await _reaper(world, lease=60.0).reap() == 0
    world.outside.let_go("db.apply")
    await step
    history = await world.events(environment)
    assert not [each for each in history if isinstance(each.event, StepLost | ResultRefused)]


async def test_a_dead_workers_step_is_freed_and_its_late_result_refused(world: World) -> None:
    environment, step = await _held(world, GHOST)
    assert await _reaper(world, lease=NOW).reap() == 1
    assert await world.store.queues() == ["data-1"], "due again"
    assert await world.store.dead(NOW) == [], "and its worker is forgotten"
    (lost,) = [each.event for each in await world.events(environment) if isinstance(each.event, StepLost)]
    started = next(each.event for each in await world.events(environment) if isinstance(each.event, StepStarted))
    assert lost.settled_at is not None
    assert lost.settled_at >= started.deadline, "nobody knows that it is dead: it may act until its deadline"
    world.outside.let_go("db.apply")
    await step
    refused = [each.event for each in await world.events(environment) if isinstance(each.event, ResultRefused)]
    assert [each.epoch for each in refused] == [started.epoch]
    assert not [each for each in await world.events(environment) if isinstance(each.event, StepSucceeded)]


async def test_the_step_of_a_process_that_is_proven_dead_has_settled_soon(world: World) -> None:
    told = "from twin.engine.embedded.names import new_name; print(new_name())"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", told, stdout=subprocess.PIPE)
    name = (await process.communicate())[0].decode().strip()
    environment, step = await _held(world, name)
    await _reaper(world, lease=NOW).reap()
    (lost,) = [each for each in await world.events(environment) if isinstance(each.event, StepLost)]
    assert lost.event.settled_at is not None
    assert lost.event.settled_at - lost.at < timedelta(seconds=30), "only what the provider may still settle"
    world.outside.let_go("db.apply")
    await step


async def test_the_step_of_a_process_that_ended_here_is_freed_long_before_its_lease_is_over(world: World) -> None:
    told = "from twin.engine.embedded.names import new_name; print(new_name(), flush=True); input()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", told, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    name = (await process.stdout.readline()).decode().strip()
    _, step = await _held(world, name)
    reaper = _reaper(world, lease=60.0)
    assert await reaper.reap() == 0, "it lives"
    assert await reaper.free_dead() == 0
    process.kill()
    await process.wait()
    assert await reaper.free_dead() == 1
    assert await world.store.queues() == ["data-1"]
    assert name not in [worker for worker, _ in await world.store.dead(NOW)], "buried"
    world.outside.let_go("db.apply")
    await step


async def test_two_reapers_free_it_once(world: World) -> None:
    environment, step = await _held(world, GHOST)
    reapers = [_reaper(world, lease=NOW, name=f"reaper-{number}") for number in range(2)]
    freed = await asyncio.gather(*(reaper.reap() for reaper in reapers))
    assert sum(freed) == 1
    assert len([each for each in await world.events(environment) if isinstance(each.event, StepLost)]) == 1
    deaths = {each.key.partition("@")[0]: each.deaths for each in await world.store.claim("next", {"data-1": 9}, 9)}
    assert deaths["db"] == 1
    world.outside.let_go("db.apply")
    await step


async def test_a_lease_of_our_own_that_runs_nowhere_is_freed_the_second_time_it_is_seen(world: World) -> None:
    await _claimed(world, "reaper")
    reaper = _reaper(world, lease=60.0)
    assert await reaper.reap() == 0, "it may be about to begin"
    assert await reaper.reap() == 1
    assert await world.store.queues() == ["data-1"]


async def test_what_a_newer_version_wrote_is_left_to_it_and_the_rest_is_freed(world: World, tmp_path: Path) -> None:
    await world.store.register(GHOST, "elsewhere.example", 1)
    newer, other = await world.create("newer"), await world.create("other")
    held = await world.store.claim(GHOST, {"data-1": 9}, 9)
    with closing(sqlite3.connect(tmp_path / "twin.db")) as connection:
        connection.execute("UPDATE entities SET schema_v = 999 WHERE id = ?", (newer,))
        connection.commit()
    assert await _reaper(world, lease=NOW).reap() == len([task for task in held if task.entity == other])
    ((worker, left),) = await world.store.dead(NOW)
    assert (worker, {task.entity for task in left}) == (GHOST, {newer}), "for a worker of that version"


def _reaper(world: World, *, lease: float, name: str = "reaper") -> Reaper:
    return Reaper(world.store, world.make_executor(name), lease, name, lambda: ())


async def _held(world: World, worker: str) -> tuple[str, asyncio.Task[object]]:
    """An environment whose database this worker makes, and its step, which hangs in the middle."""
    world.outside.hold("db.apply")
    environment, claimed = await _claimed(world, worker)

    async def hangs() -> bool:
        return world.outside.held == 1

    step: asyncio.Task[object] = asyncio.create_task(world.make_executor(worker).step(claimed))
    await soon(hangs)
    return environment, step


async def _claimed(world: World, worker: str) -> tuple[str, Claimed]:
    """An environment, and the lease on its database's step; its other steps are due much later."""
    await world.store.register(worker, "elsewhere.example", 1)
    environment = await world.create()
    claimed = {each.key.partition("@")[0]: each for each in await world.store.claim(worker, {"data-1": 9}, 9)}
    for component in ("cache", "jobs"):
        await world.store.put_off(claimed[component], 3600)
    return environment, claimed["db"]

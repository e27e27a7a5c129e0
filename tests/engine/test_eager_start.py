"""Steps begin in the transaction that makes them due, when the worker of this process has room."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from twin.domain.events import StepStarted, StepSucceeded
from twin.testing.world import World, open_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        opened.executor.room = lambda: 16
        yield opened


async def test_the_result_of_a_step_begins_what_it_makes_due(world: World) -> None:
    env = await world.create()
    claimed = await world.store.claim("inline", {"data-1": 9}, 9)
    begun = [attempt for task in claimed for attempt in await world.executor.step(task)]
    assert [attempt.key.component for attempt in begun] == ["app"], "the last of what the app needs let it begin"
    history = await world.events(env)
    started = next(e for e in history if isinstance(e.event, StepStarted) and e.event.key.component == "app")
    before = history[history.index(started) - 1]
    assert isinstance(before.event, StepSucceeded)
    assert before.at == started.at, "result and intent are one commit"
    await world.executor.run(begun[0])
    assert (await world.view(env)).status == "ready"


async def test_without_room_the_step_is_left_to_any_worker(world: World) -> None:
    world.executor.room = lambda: 0
    await world.create()
    claimed = await world.store.claim("inline", {"data-1": 9}, 9)
    assert [attempt for task in claimed for attempt in await world.executor.step(task)] == []
    assert await world.store.queues() == ["run-1"], "the app's step is due and free"

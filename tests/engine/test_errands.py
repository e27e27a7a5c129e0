"""Errands: leased, told to their entity once, and run again after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from twin.domain.decider import AT_ONCE, Cause, TaskSpec
from twin.domain.errors import StepFailure, Transient
from twin.domain.identity import TWIN
from twin.engine.errands import PUT_OFF
from twin.engine.execute import Executor
from twin.ports.store import Claimed
from twin.store import SqlStore, open_store
from twin.testing.counter import KIND, Add, Count, Counter, Open, Plan
from twin.testing.virtual_clock import VirtualClock
from twin.testing.world import World, open_world

ASK = TaskSpec("step", "ask", "forge/x", AT_ONCE)


class Asking:
    """An errand that adds to the counter what `answer` gives, or `failure` if that fails."""

    def __init__(self) -> None:
        self.runs = 0
        self.answer: Callable[[], Awaitable[Any]] = self.one
        self.failure = Add(-1)

    async def one(self) -> Any:
        return Add(1)

    async def run(self, task: Claimed) -> Any:
        assert (task.entity, task.key) == ("counter", "ask")
        self.runs += 1
        return await self.answer()

    def failed(self, task: Claimed, failure: StepFailure) -> Any:
        return self.failure


class Errand:
    """One counter that wants to ask."""

    def __init__(self, world: World, store: SqlStore, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.asking = Asking()
        self.executor = self.executor_of(world, "w1")

    def executor_of(self, world: World, worker: str) -> Executor:
        return Executor(
            worker=worker,
            store=self.store,
            types={},
            targets=world.targets,
            vault=world.vault,
            changes=world.changes,
            clock=world.clock,
            errands={KIND: self.asking},
        )

    async def give(self, *inputs: Any) -> None:
        for each in inputs:
            await self.store.transact(lambda tx, each=each: tx.transition(KIND, "counter", each, Cause(TWIN)))

    async def claim(self, worker: str = "w1") -> Claimed:
        (task,) = await self.store.claim(worker, {"forge/x": 1}, 1)
        return task

    async def count(self) -> Count:
        row = await self.store.entity(KIND, "counter")
        assert row is not None
        state: Count = row.state
        return state


@pytest.fixture
async def errand() -> AsyncIterator[Errand]:
    clock = VirtualClock(0)
    store = open_store("sqlite://", deciders={KIND: Counter()}, clock=clock, inline=True)
    async with open_world() as world:
        errand = Errand(world, store, clock)
        for worker in ("w1", "w2"):
            await store.register(worker, "here", 1)
        await errand.give(Open("shop", "counter"), Plan((ASK,)))
        yield errand
    await store.close()


async def test_the_entity_is_told_and_the_task_goes_as_it_decides(errand: Errand) -> None:
    assert await errand.store.queues() == ["forge/x"]

    async def answer() -> Any:
        return Plan(())

    errand.asking.answer = answer
    assert await errand.executor.step(await errand.claim()) == ()
    assert await errand.store.queues() == []
    assert (await errand.store.held("w1")) == []


async def test_what_is_still_wanted_is_due_again(errand: Errand) -> None:
    """Something was heard while it was asked."""
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == 1
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == 2


@pytest.mark.parametrize("error", [Transient("no answer"), ValueError("a fault of ours"), TimeoutError()])
async def test_the_entity_is_told_of_a_failure(errand: Errand, error: Exception) -> None:
    async def answer() -> Any:
        raise error

    errand.asking.answer = answer
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == -1


async def test_an_outcome_that_cannot_be_taken_in_is_a_failure_and_is_tried_again(errand: Errand) -> None:
    async def answer() -> Any:
        return Add(0)  # which the counter refuses

    errand.asking.answer = answer
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == -1
    assert await errand.store.held("w1") == []
    errand.asking.answer = errand.asking.one
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == 0


async def test_an_entity_that_cannot_even_be_told_of_a_failure_is_asked_for_later(errand: Errand) -> None:
    async def answer() -> Any:
        raise Transient("no answer")

    errand.asking.answer, errand.asking.failure = answer, Add(0)
    await errand.executor.step(await errand.claim())
    assert await errand.store.held("w1") == []
    assert await errand.store.queues() == [], "not at once, over and over"
    errand.clock.advance(timedelta(seconds=PUT_OFF + 1))
    errand.asking.answer = errand.asking.one
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == 1


async def test_an_errand_may_have_nothing_to_tell(errand: Errand) -> None:
    async def answer() -> Any:
        return None

    errand.asking.answer = answer
    await errand.executor.step(await errand.claim())
    assert (await errand.count()).total == 0
    assert await errand.store.held("w1") == []


async def test_what_is_answered_to_a_worker_that_lost_its_lease_counts_for_nothing(errand: Errand) -> None:
    asked, late = asyncio.Event(), asyncio.Event()

    async def answer() -> Any:
        asked.set()
        await late.wait()
        return Add(100)

    errand.asking.answer = answer
    task = await errand.claim()
    working = asyncio.create_task(errand.executor.step(task))
    await asked.wait()
    assert await errand.executor.lost(task, proven_dead=False)
    errand.asking.answer = errand.asking.one
    await errand.executor.step(await errand.claim())
    late.set()
    await working
    assert (await errand.count()).total == 1
    assert errand.asking.runs == 2


async def test_a_worker_that_drains_gives_it_back(errand: Errand) -> None:
    asked = asyncio.Event()

    async def answer() -> Any:
        asked.set()
        await asyncio.Event().wait()

    errand.asking.answer = answer
    working = asyncio.create_task(errand.executor.step(await errand.claim()))
    await asked.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    errand.asking.answer = errand.asking.one
    task = await errand.claim("w2")
    assert task.deaths == 0, "nobody died of it"
    assert (await errand.count()).total == 0

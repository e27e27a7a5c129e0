"""The inline engine: one thread, one loop, a virtual clock. It runs what is due and lets time pass when nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from twin.engine.attempts import Attempt
from twin.engine.execute import Executor
from twin.ports.store import Claimed
from twin.store import SqlStore
from twin.testing.simulated import SimulatedWorld
from twin.testing.virtual_clock import VirtualClock

WORKER = "inline"
_FOREVER = 1000
_CALM = 20
"""Turns of the loop in which a held step may notice that it is not wanted any more."""


class InlineEngine:
    """Runs tasks of an inline store. Steps that the world holds stay running; nothing ever sleeps."""

    def __init__(self, store: SqlStore, executor: Executor, clock: VirtualClock, world: SimulatedWorld) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._world = world
        self._running: set[asyncio.Task[Sequence[Attempt]]] = set()

    async def run_due(self) -> bool:
        """Start all that is due now and run it until only held steps are left. Whether there was anything."""
        found = False
        for task in await self._store.due_timers(100):
            await self._executor.timer(task)
            found = True
        free = dict.fromkeys(await self._store.queues(), 100)
        claimed = [*await self._store.claim(WORKER, free, 100), *await self._store.claim(WORKER, free, 1, alone=True)]
        for task in claimed:
            self._start(task)
        await self._settle()
        return found or bool(claimed)

    async def run_until_quiet(self, *, until: datetime | None = None) -> None:
        """Run what is due, and move the clock to what will be, until nothing is (or the time `until` has come)."""
        for _ in range(_FOREVER):
            await self._settle()
            if await self.run_due():
                continue
            due = await self._store.next_due()
            if due is None or (until is not None and due > until):
                if until is not None:
                    self._clock.move_to(until)
                return
            self._clock.move_to(due)
        raise AssertionError("the twin does not come to rest")

    def _start(self, task: Claimed) -> None:
        running = asyncio.create_task(self._executor.step(task), name=task.key)
        self._running.add(running)

    async def _settle(self) -> None:
        """Let tasks run until each has ended or is held. The store is synchronous, so every await is ours."""
        calm = 0
        for _ in range(_FOREVER):
            for done in [task for task in self._running if task.done()]:
                self._running.discard(done)
                done.result()
            calm = calm + 1 if len(self._running) <= self._world.held else 0
            if calm and (not self._running or calm > _CALM):
                return
            await asyncio.sleep(0)
        raise AssertionError("a step neither ends nor is held")

"""The reaper: every worker looks for dead ones and frees what they held."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from twin.domain.errors import Unavailable
from twin.engine.embedded.names import proven_dead
from twin.engine.execute import Executor, lease_of
from twin.ports.store import Claimed, Queue

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Reaper:
    """Declares the attempts of silent workers lost. Several may do so at once: only one finds each lease."""

    def __init__(
        self, queue: Queue, executor: Executor, lease: float, own: str, mine: Callable[[], Collection[Claimed]]
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._lease = lease
        self._own = own
        self._mine = mine
        self._stray: frozenset[Claimed] = frozenset()
        self._seen: datetime | None = None
        self._peers: frozenset[str] = frozenset()

    async def reap(self) -> int:
        """Free the tasks of the dead, and our own that nothing here runs. How many those were. And what waits for a
        time that a clock set back will not reach for long, waits anew."""
        freed = await self._free_strays()
        self._seen, waiting = await self._queue.set_back(self._seen)
        for task in waiting:
            log.warning("the clock was set back: waits count from now", environment=task.entity)
            await self._executor.timer(task)
        self._peers = frozenset(worker for worker, _ in await self._queue.dead(0.0)) - {self._own}
        return freed + await self.free_dead()

    async def free_dead(self) -> int:
        """Free the tasks of the silent, and of those whose process has ended on this machine, which nobody waits for.
        Cheap while nobody is dead, and so to be asked often."""
        silent = await self._queue.dead(self._lease)
        ended = {peer for peer in self._peers if proven_dead(peer)}.difference(worker for worker, _ in silent)
        if ended:
            silent = [*silent, *(found for found in await self._queue.dead(0.0) if found[0] in ended)]
            self._peers -= ended
        freed = 0
        for worker, held in silent:
            if worker == self._own:
                continue  # late ourselves: the next heartbeat will show it
            dead, left = proven_dead(worker), 0
            for task in held:
                try:
                    freed += await self._executor.lost(task, proven_dead=dead)
                except Unavailable as refusal:
                    if refusal.code != "newer_schema":
                        raise
                    left += 1  # a worker of that version will free it, and finds its holder still unburied
                    log.warning("a dead worker's step is left to others", environment=task.entity, step=task.key)
            if left:
                continue
            await self._queue.bury(worker, silent=None if dead else self._lease)
            log.info("worker buried", worker=worker, tasks=len(held), proven_dead=dead)
        return freed

    async def free_begun(self) -> int:
        """Free what a transaction has begun here and nobody runs, as no answer came to its COMMIT: a step waits for it.
        Asks the database only while something is on its way from there."""
        return await self._free_strays() if self._executor.begun else 0

    async def _free_strays(self) -> int:
        """Leases of ours without a running step, seen so twice: a fault here must not hold a step for ever."""
        begun = frozenset(self._executor.begun)
        held = await self._queue.held(self._own)
        running = {lease_of(task) for task in self._mine()}
        stray = frozenset(task for task in held if lease_of(task) not in running)
        # What is not held was rolled back. Or it is not committed yet: then the next `reap` finds it.
        self._executor.begun.difference_update(begun - {lease_of(task) for task in stray - self._stray})
        again = stray & self._stray
        self._stray = stray - again
        for task in sorted(again, key=lambda each: (each.entity, each.key)):
            log.error("a lease of ours runs nowhere", environment=task.entity, step=task.key)
            await self._executor.lost(task, proven_dead=True)
        return len(again)

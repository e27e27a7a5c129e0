"""The reaper: every worker looks for dead ones and frees what they held."""

from __future__ import annotations

import structlog

from twin.engine.embedded.names import proven_dead
from twin.engine.execute import Executor
from twin.ports.store import Queue

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Reaper:
    """Declares the attempts of silent workers lost. Several may do so at once: only one finds each lease."""

    def __init__(self, queue: Queue, executor: Executor, lease: float, own: str) -> None:
        self._queue = queue
        self._executor = executor
        self._lease = lease
        self._own = own

    async def reap(self) -> int:
        """Free the tasks of the dead. How many those were."""
        freed = 0
        for worker, held in await self._queue.dead(self._lease):
            if worker == self._own:
                continue  # late ourselves: the next heartbeat will show it
            dead = proven_dead(worker)
            for task in held:
                await self._executor.lost(task, proven_dead=dead)
                freed += 1
            await self._queue.bury(worker)
            log.info("worker buried", worker=worker, tasks=len(held), proven_dead=dead)
        return freed

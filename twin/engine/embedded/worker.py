"""The worker: claims what is due, runs it, and sleeps without cost when nothing is."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from twin.domain.errors import Unavailable
from twin.domain.targets import Target
from twin.engine.attempts import Attempt
from twin.engine.embedded.heartbeat import Heartbeat
from twin.engine.embedded.rates import Rates
from twin.engine.embedded.reaper import Reaper
from twin.engine.execute import Executor
from twin.ports.store import Claimed, Tx, WorkerStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LONGEST_SLEEP = 20.0
"""Seconds after which a worker looks without a hint: another process may have made work, or hints got lost."""

_TIMERS_AT_ONCE = 100

_PATIENCE = 30.0
"""Seconds that a task which must run alone waits for a busy worker before it claims nothing else."""


class Worker:
    """One worker. `slots` bounds its running steps, `lease` is in seconds, `drain` the seconds that running steps get
    after `stop`."""

    def __init__(
        self,
        name: str,
        store: WorkerStore,
        executor: Executor,
        *,
        slots: int = 16,
        lease: float = 15.0,
        drain: float = 30.0,
    ) -> None:
        self._name = name
        self._store = store
        self._executor = executor
        self._slots = slots
        self._lease = lease
        self._drain = drain
        self._rates = Rates()
        self._running: dict[asyncio.Task[None], Claimed] = {}
        self._reaper = Reaper(store, executor, lease, name, self._running.values)
        self._again = asyncio.Event()
        self._left_over = True
        self._passed_over: float | None = None
        self._stopping = False
        self._registered = False
        executor.room = self._room

    async def run(self) -> None:
        """Work until `stop`, then let running steps finish."""
        await self._store.register(self._name, socket.gethostname(), os.getpid())
        self._registered = True  # from here on a lease of ours is not a stranger's
        heartbeat = Heartbeat(lambda: self._store.heartbeat(self._name), self._lease)
        heartbeat.start()
        log.info("worker ready", worker=self._name, slots=self._slots)
        reaping = asyncio.create_task(self._reap_for_ever(), name="reaper")
        try:
            while not self._stopping:
                await self._turn()
        finally:
            self._stopping = True  # also if it was an error that ended it: nothing more is begun here
            reaping.cancel()
            await asyncio.gather(reaping, return_exceptions=True)
            await self._drained()
            await asyncio.to_thread(heartbeat.stop)
            await self._leave()

    @property
    def working(self) -> bool:
        """Whether it is registered and takes on work: not before `run` has begun, nor once it ends for any reason."""
        return self._registered and not self._stopping

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what runs has ended."""
        self._stopping = True
        self._again.set()

    def begin(self, tx: Tx, kind: str, entity: str) -> Sequence[Attempt]:
        """See `twin.ports.starter.Starter`."""
        return self._executor.begin(tx, entity)

    def launch(self, begun: Sequence[Attempt]) -> None:
        """See `twin.ports.starter.Starter`."""
        for attempt in begun:
            self._run(self._executor.run(attempt), attempt.task)

    def _room(self) -> int:
        """Free slots. Read from the store's thread as well: one too many does no harm."""
        return self._slots - len(self._running) if self.working else 0

    async def _turn(self) -> None:
        """Start all that is due and may start; then wait until there may be more."""
        self._again.clear()
        self._left_over = True
        try:
            timers = await self._fire()
            targets = await self._store.targets()
            claimed = await self._claim(targets)
            if timers == _TIMERS_AT_ONCE or claimed:
                return
            # When all that is due runs, the end of a step gives nothing to claim: what it makes due rings by itself.
            self._left_over = bool(await self._store.queues())
            pause = await self._pause(targets)
        except Unavailable as refusal:
            log.warning("the database refuses; trying again", problem=refusal.message)
            pause = 1.0
        await self._sleep(pause)

    async def _fire(self) -> int:
        due = await self._store.due_timers(_TIMERS_AT_ONCE)
        return sum([await self._deliver(task) for task in due])

    async def _deliver(self, task: Claimed) -> bool:
        """One twin that cannot be served, by a fault of ours or since a newer version wrote it, stops no other."""
        try:
            await self._executor.timer(task)
        except Unavailable as refusal:
            if refusal.code != "newer_schema":
                raise
            log.warning("timer left to others", environment=task.entity, timer=task.key, problem=refusal.message)
        except Exception:
            log.exception("timer did not come to its end", environment=task.entity, timer=task.key)
        else:
            return True
        return False

    async def _claim(self, targets: tuple[Target, ...]) -> int:
        queues = await self._store.queues()
        room = self._slots - len(self._running)
        free = self._rates.free(targets, queues, room, Counter(task.queue for task in self._running.values()))
        ceilings = {target.name: target.concurrency for target in targets}
        if room <= 0 or not free:
            return 0
        claimed: Sequence[Claimed] = ()
        if not self._makes_room():
            claimed = await self._store.claim(self._name, free, room, ceilings=ceilings)
        if not claimed and not self._running:
            # What has killed workers runs alone, so that it can take nobody with it.
            claimed = await self._store.claim(self._name, free, 1, ceilings=ceilings, alone=True)
        passed_over = not claimed and await self._store.loners_due()
        self._passed_over = self._passed_over or time.monotonic() if passed_over else None
        for task in claimed:
            self._start(task)
        return len(claimed)

    def _makes_room(self) -> bool:
        """Whether a task that must run alone has waited so long that what runs should end first."""
        since = self._passed_over
        return bool(self._running) and since is not None and time.monotonic() - since > _PATIENCE

    def _start(self, task: Claimed) -> None:
        self._rates.started(task.queue)
        self._run(self._executor.step(task), task)

    def _run(self, work: Coroutine[Any, Any, Sequence[Attempt]], task: Claimed) -> None:
        running = asyncio.create_task(self._and_what_follows(work), name=task.key)
        self._running[running] = task
        running.add_done_callback(self._ended)

    async def _and_what_follows(self, work: Coroutine[Any, Any, Sequence[Attempt]]) -> None:
        self.launch(await work)

    def _ended(self, running: asyncio.Task[None]) -> None:
        task = self._running.pop(running)
        if self._left_over:
            self._again.set()
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("step did not come to its end", step=task.key, environment=task.entity, exc_info=error)

    async def _pause(self, targets: tuple[Target, ...]) -> float:
        """Seconds until something will be due or a rate limit lets go."""
        due = await self._store.due_in()
        pause = _LONGEST_SLEEP if due is None else due
        if pause <= 0:
            # Due, and not claimed: limits hold it, or another worker has it. The end of a step wakes us before.
            limited = self._rates.wait(targets)
            pause = 1.0 if limited is None else min(1.0, limited)
        return min(_LONGEST_SLEEP, max(0.005, pause))

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0 or self._again.is_set():
            return
        waits = {
            asyncio.create_task(self._store.wait_for_work(seconds)),
            asyncio.create_task(self._again.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _reap_for_ever(self) -> None:
        """For stray leases and a clock set back twice per lease, for what we have begun thrice as often, but only if
        there may be any, and in between for the dead: their steps go on about when their lease is over."""
        begun, dead = self._reaper.free_begun, self._reaper.free_dead
        for look in itertools.cycle((self._reaper.reap, dead, begun, dead, begun, dead)):
            try:
                await look()
            except Unavailable as refusal:
                log.warning("cannot look for dead workers", problem=refusal.message)
            except Exception:  # without a reaper, what a dead worker holds would stand still for ever
                log.exception("looking for dead workers failed")
            await asyncio.sleep(self._lease / 12)

    async def _drained(self) -> None:
        """Running steps get `drain` seconds; then they are stopped, and go on elsewhere at the same attempt."""
        if not self._running:
            return
        log.info("draining", steps=len(self._running), seconds=self._drain)
        until = time.monotonic() + self._drain
        while self._running and (left := until - time.monotonic()) > 0:
            await asyncio.wait(list(self._running), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(list(self._running))

    async def _leave(self) -> None:
        try:
            await self._store.bury(self._name)
        except Unavailable as refusal:
            log.warning("could not sign off", problem=refusal.message)

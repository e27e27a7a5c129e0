"""Workers: processes with the real executor, reaper and use cases in them, that die, freeze, restart and go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from twin.domain.decider import Decider
from twin.domain.errors import Unavailable
from twin.domain.targets import Target
from twin.engine.attempts import Attempt
from twin.engine.embedded.reaper import Reaper
from twin.engine.execute import Executor
from twin.engine.opened import OpenedTargets
from twin.ports.provider import Provider
from twin.ports.store import Claimed, Tx
from twin.service.blocks import Blocks
from twin.service.twins import Twins
from twin.store import SqlStore
from twin.testing.blueprints import TYPES
from twin.testing.simulator.database import Database, ProcessDriver
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.oracle import Oracle
from twin.testing.simulator.pulls.forge import SimulatedForge
from twin.testing.simulator.pulls.truth import ForgeTruth
from twin.testing.simulator.pulls.works import Works
from twin.testing.simulator.server import SimulatedServer
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.vault import SimulatedVault
from twin.testing.simulator.virtual_loop import SimulatedClock, spawn
from twin.testing.simulator.worlds import Worlds

LEASE = 15.0
SLOTS = 16
CEILINGS = {"data-1": 12, "run-1": 12}


class Died(BaseException):
    """The process is dead: nothing of it runs any more. Not an Exception: no program can catch its own death."""


class Hints:
    """See `twin.ports.changes.Changes`: within one process; looks seldom without a hint, for every look costs."""

    def __init__(self) -> None:
        self._watched: dict[str | None, list[Hint]] = {}

    def notify(self, entity: str) -> None:
        """Wake who watches."""
        for hint in self._watched.get(entity, ()):
            hint.give()

    @contextmanager
    def watch(self, entity: str | None) -> Iterator[Hint]:
        """Nothing is kept once the watch ends."""
        hint = Hint()
        self._watched.setdefault(entity, []).append(hint)
        try:
            yield hint
        finally:
            self._watched[entity].remove(hint)
            if not self._watched[entity]:
                del self._watched[entity]


class Hint:
    """See `twin.ports.changes.Watch`."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    def give(self, *_: object) -> None:
        """Something has changed."""
        self._given.set()

    async def changed(self, timeout: float) -> None:
        """Until something changes, or some while."""
        timer = asyncio.get_running_loop().call_later(timeout * 8, self.give)
        try:
            await self._given.wait()
        finally:
            timer.cancel()
            self._given.clear()


class _Executor(Executor):
    """The executor, knowing of the dead what a machine would know of its own processes."""

    oracle: Oracle
    dead: Mapping[str, bool]

    async def lost(self, task: Claimed, *, proven_dead: bool) -> bool:
        """With the truth of who is proven dead."""
        holder = self.oracle.runs(task.entity, task.key, task.epoch)
        return await super().lost(
            task, proven_dead=proven_dead or (holder is not None and self.dead.get(holder, False))
        )


class _Kind:
    """See `twin.ports.provider.ProviderKind`: the servers as one process sees them."""

    def __init__(self, name: str, opened: Callable[[str], Provider]) -> None:
        self.name = name
        self.types = tuple(each for each in TYPES.values() if each.provider == name)
        self._opened = opened

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Everything goes."""

    def open(self, target: Target, credentials: Mapping[str, str]) -> Provider:
        """A way to the server."""
        return self._opened(target.name)


class Process:
    """One process: `name` is its worker's. `provable`: its machine can tell that it is dead.

    `passage` is where all that it does outside of itself passes: there it stands still while frozen, and dies.
    """

    def __init__(
        self,
        name: str,
        *,
        database: Database,
        deciders: Mapping[str, Decider[Any, Any, Any]],
        worlds: Worlds,
        truth: ForgeTruth,
        oracle: Oracle,
        fate: Fate,
        journal: Journal,
        dead: dict[str, bool],
    ) -> None:
        self.name = name
        self.dead = False
        self.provable = fate.random.random() < 0.5
        self.frozen_until = 0.0
        self.stopping = False
        self.turning = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._running: dict[asyncio.Task[Any], Claimed] = {}
        self._fate = fate
        self._journal = journal
        self._worlds = worlds
        self._oracle = oracle
        self._known_dead = dead
        skew = fate.random.uniform(-20.0, 20.0) if "skew" in fate.rates else 0.0
        clock = SimulatedClock(fate, skew)
        self.store = SqlStore(ProcessDriver(database, self.passage), deciders)
        hints, vault = Hints(), SimulatedVault(fate)
        forge = SimulatedForge(self, truth, worlds, fate, journal, oracle.pulls)
        opened: Callable[[str], Provider] = lambda target: SimulatedServer(  # noqa: E731
            target, self, worlds, fate, journal, oracle
        )
        targets = OpenedTargets(self.store, vault, {name: _Kind(name, opened) for name in ("data", "run")})
        self.works = Works(self.store, forge, targets, vault, hints, clock)
        self.executor = _Executor(
            worker=name,
            store=self.store,
            types=TYPES,
            targets=targets,
            vault=vault,
            changes=hints,
            clock=clock,
            errands=self.works.errands,
        )
        self.executor.oracle, self.executor.dead = oracle, dead
        if fate.random.random() < 0.7:  # the others leave all to the claims of their turns
            self.executor.room = self._room
        self.twins = Twins(self.store, TYPES, hints, clock, self if fate.random.random() < 0.7 else None)
        self.blocks = Blocks(self.store, hints)
        self._reaper = Reaper(self.store, self.executor, LEASE, name, self._running.values)

    # -- life and death

    @property
    def awake(self) -> bool:
        """Whether it does anything now."""
        return not self.dead and self.frozen_until <= asyncio.get_running_loop().time()

    @property
    def idle(self) -> bool:
        """Whether no step runs in it."""
        return not self._running

    def holds(self, task: tuple[str, str, int]) -> bool:
        """Whether the step of an entity, key and epoch runs in it."""
        return any((each.entity, each.key, each.epoch) == task for each in self._running.values())

    async def passage(self, when: str) -> None:
        """Take the time of a message; be struck."""
        if self.dead:
            raise Died(self.name)
        if when == "a read":
            if self.frozen_until > 0.0:
                await self._thaw()
            return
        amid = 4.0 if when.endswith("effect") else 1.0  # there it hurts most
        if self._fate.strikes("crash", 0.004 * amid):
            self.crash(when)
            raise Died(self.name)
        if self._fate.strikes("freeze", 0.003 * amid):
            self.freeze(when)
        await asyncio.sleep(self._fate.latency())
        await self._thaw()
        if self.dead:
            raise Died(self.name)

    async def _thaw(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self.frozen_until - loop.time()) > 0:  # noqa: ASYNC110 - it may freeze again meanwhile
            await asyncio.sleep(left)
        if self.dead:
            raise Died(self.name)

    def freeze(self, when: str) -> None:
        """Stand still for a while: often longer than the lease, at times than every deadline."""
        seconds = self._fate.random.choice((3.0, 20.0, 60.0, 200.0, 1000.0))
        self._journal.note("freeze", f"{self.name} for {seconds:.0f} s, {when}")
        self.frozen_until = asyncio.get_running_loop().time() + seconds

    def crash(self, when: str) -> None:
        """Die at once."""
        self._journal.note("crash", f"{self.name}, {when}")
        self.dead = True
        self._known_dead[self.name] = self.provable
        self._worlds.bereave(self)
        for task in list(self.tasks):
            task.cancel()

    def drain(self) -> None:
        """As SIGTERM at its end: stop what runs; nothing new is begun."""
        self._journal.note("drain", self.name)
        self.stopping = True
        for task in list(self._running):
            task.cancel()

    # -- a worker's work

    async def turn(self) -> None:
        """As `twin.engine.embedded.worker.Worker` does it: fire timers, claim, start."""
        try:
            for task in await self.store.due_timers(100):
                await self.executor.timer(task)
            room = self._room()
            queues = await self.store.queues() if room > 0 else ()
            if not queues:
                return
            free = dict.fromkeys(queues, room)
            claimed = await self.store.claim(self.name, free, room, ceilings=CEILINGS)
            if not claimed and not self._running:
                claimed = await self.store.claim(self.name, free, 1, ceilings=CEILINGS, alone=True)
            for task in claimed:
                self._run(self.executor.step(task), task)
        except Unavailable:
            return

    async def reap(self) -> None:
        """Look for the dead."""
        try:
            await self._reaper.reap()
        except Unavailable:
            return

    def begin(self, tx: Tx, kind: str, entity: str) -> Sequence[Attempt]:
        """See `twin.ports.starter.Starter`."""
        return self.executor.begin(tx, entity)

    def launch(self, begun: Sequence[Attempt]) -> None:
        """See `twin.ports.starter.Starter`."""
        for attempt in begun:
            self._run(self.executor.run(attempt), attempt.task)

    def credentials(self, target: str) -> tuple[str, ...]:
        """Simulated targets have none."""
        return ()

    def _room(self) -> int:
        return 0 if self.stopping or self.dead else SLOTS - len(self._running)

    def _run(self, work: Any, task: Claimed) -> None:
        if self.dead:
            work.close()
            return
        running = spawn(self.tasks, self._and_what_follows(work))
        self._running[running] = task
        running.add_done_callback(lambda ended: self._ended(ended, work))

    async def _and_what_follows(self, work: Any) -> None:
        self.launch(await work)

    def _ended(self, running: asyncio.Task[Any], work: Any) -> None:
        work.close()  # one that died before its first step has not begun
        task = self._running.pop(running)
        if not running.cancelled() and (error := running.exception()) is not None and not isinstance(error, Died):
            self._journal.broken("a step did not come to its end", f"{task.key}: {error!r}", task.entity)

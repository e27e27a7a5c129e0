"""One run: the scheduler that picks who acts next, the faults of processes and database, and the end of all things."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile
import time
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from twin.domain.blueprint_document import document
from twin.domain.decider import Decider
from twin.domain.deciders import DECIDERS
from twin.domain.errors import Unavailable
from twin.domain.identity import TWIN
from twin.domain.targets import Target
from twin.ports.store import StoredBlueprint
from twin.store import SqlStore
from twin.store.tx import SqlTx
from twin.testing.blueprints import TARGETS, guestbook, guestbook_components
from twin.testing.simulator.database import Database, ProcessDriver
from twin.testing.simulator.ending import Ending
from twin.testing.simulator.history import story
from twin.testing.simulator.journal import Breach, Broken, Journal
from twin.testing.simulator.oracle import Oracle
from twin.testing.simulator.people import People
from twin.testing.simulator.process import LEASE, Died, Process
from twin.testing.simulator.pulls.authors import Authors
from twin.testing.simulator.pulls.ending import PullEnding
from twin.testing.simulator.pulls.mail import Mail
from twin.testing.simulator.pulls.truth import TARGET, ForgeTruth
from twin.testing.simulator.setting import Fate, Setting
from twin.testing.simulator.virtual_loop import SimulatedClock, Stalled, VirtualLoop, spawn
from twin.testing.simulator.worlds import Worlds

_DUE = "SELECT min(due_at) FROM tasks WHERE lease_owner IS NULL AND due_at IS NOT NULL"
_LEASES = "SELECT lease_owner, entity, key, lease_epoch FROM tasks WHERE lease_owner IS NOT NULL"
_EPOCH = 1_767_225_600_000_000
"""The simulation's beginning, in microseconds."""


class Report(Struct, frozen=True, kw_only=True):
    """What came of a run. `pulls` requests were opened, and had `previews`. `seconds` of real time; `digest` of every
    event in the order of their commits."""

    setting: Setting
    breach: Breach | None
    digest: str
    events: int
    commits: int
    calls: int
    operations: int
    pulls: int
    previews: int
    seconds: float
    faults: dict[str, int]
    history: tuple[str, ...] = ()


class Simulation:
    """Made for one `Setting`; `run` is called once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.fate = Fate(setting)
        self.journal = Journal()
        self.worlds = Worlds(self.fate, self.journal)
        self.truth = ForgeTruth()
        self.oracle = Oracle(self.worlds, self.truth, self.journal)
        self.deciders: dict[str, Decider[Any, Any, Any]] = dict(DECIDERS)
        self.database = Database(SimulatedClock(self.fate), self.fate, self.journal)
        self.database.rung = self._rung
        self.processes: list[Process] = []
        self.people = People(setting, self._anyone, self.worlds, self.oracle, self.fate, self.journal)
        mail = Mail(self._anyone, self.fate, self.journal)
        self.authors = Authors(setting, self._anyone, self.truth, mail, self.fate, self.journal)
        self._dead: dict[str, bool] = {}
        self._born = 0
        self._ring = asyncio.Event()
        self._impatient: set[str] = set()
        if "skew" in self.fate.rates:
            # While a clock is set back behind the history, events are of its end: then waits are counted by rows.
            self.oracle.tolerance = self.oracle.promises.slack = 61.0
            self.oracle.pulls.apart = 0.0

    async def run(self) -> None:
        """Live the days, then bring all to its end. Raises `Broken`."""
        self._publish()
        self.database.witness = self.oracle
        for _ in range(3):
            self._bear()
        actors = [self.people.live(), self.people.mend(), self._pulse(), self._watch_over(), self._trouble()]
        tasks = [spawn(None, actor) for actor in actors]
        authors = [spawn(None, self.authors.live())] if self.setting.pull_requests else []
        try:
            left = self.setting.days * 86_400.0
            while left > 0 and self.journal.breach is None:
                await asyncio.wait(tasks, timeout=min(left, 3600.0), return_when=asyncio.FIRST_EXCEPTION)
                left -= 3600.0
                self._look(tasks + authors)
            for leaving in (tasks[0], *authors):
                leaving.cancel()
            await self._calm()
            look = lambda: self._look(tasks[1:])  # noqa: E731
            pulls = PullEnding(self.authors, self.truth, self.oracle.pulls, self.journal)
            ending = Ending(self.people, self.worlds, self.oracle, self.database, pulls, self.journal, look)
            await ending.come(SqlStore(ProcessDriver(self.database, _unhindered), self.deciders))
        finally:
            for task in [*tasks, *authors, *(each for process in self.processes for each in process.tasks)]:
                task.cancel()
            for process in self.processes:
                process.dead = True
            await asyncio.gather(*tasks, *authors, return_exceptions=True)

    def _look(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if self.journal.breach is not None:
            raise Broken(self.journal.breach.rule)

    # -- who acts next

    def _anyone(self) -> Process:
        """A process that answers; now and then one that does not."""
        awake = [each for each in self.processes if each.awake and not each.stopping]
        return self.fate.random.choice(awake or self.processes)

    def _rung(self) -> None:
        self._ring.set()

    async def _pulse(self) -> None:
        """Whenever something is due, some worker looks."""
        loop = asyncio.get_running_loop()
        while True:
            row = self.database.raw.execute(_DUE).fetchone()[0]
            now = loop.time() + self.database.clock.offset
            wait = None if row is None else (row - _EPOCH) / 1_000_000 - now
            if wait is not None and wait <= 0:
                worker = self._anyone()
                if not worker.turning and not self.database.refuses:
                    await self._turn(worker)
                wait = self.fate.random.uniform(0.01, 1.0)
            self._ring.clear()
            timer = loop.call_later(wait, self._ring.set) if wait is not None else None
            await self._ring.wait()
            if timer is not None:
                timer.cancel()
            await asyncio.sleep(self.fate.latency())

    async def _turn(self, worker: Process) -> None:
        worker.turning = True

        async def turn() -> None:
            try:
                await worker.turn()
            except Died:
                return
            finally:
                worker.turning = False

        turning = spawn(worker.tasks, turn())
        await asyncio.wait([turning], timeout=1.0)

    async def _watch_over(self) -> None:
        """Workers look for dead ones. Only while there is something to find, for every look costs."""
        while True:
            await asyncio.sleep(LEASE / 2)
            if astray := self._astray():
                for entity in [each for each in astray if each.startswith("env_")]:  # who sees it may lose patience
                    if entity not in self._impatient and self.fate.random.random() < 0.25 and not self.fate.calm:
                        self._impatient.add(entity)
                        spawn(None, self.people.send(entity, "destroy"))
                await self._reap()
                continue
            # Nothing can go astray but by a fault while something is leased, and leases come by commits.
            while not self._astray():
                await asyncio.sleep(LEASE * 2)
                if not self._leases():
                    self.database.committed.clear()
                    await self.database.committed.wait()

    def _leases(self) -> list[tuple[str, str, str, int]]:
        return self.database.raw.execute(_LEASES).fetchall()

    def _astray(self) -> list[str]:
        """Entities with a lease that is held by nobody who works on it."""
        names = {each.name: each for each in self.processes}
        return [
            entity
            for owner, entity, key, epoch in self._leases()
            if owner not in names or not names[owner].awake or not names[owner].holds((entity, key, epoch))
        ]

    async def _reap(self) -> None:
        try:
            for process in self.processes:
                if process.awake and not self.fate.strikes("lease", 0.05):
                    process.store.heartbeat(process.name)
        except Unavailable:
            return
        for process in self.processes:
            if process.awake:
                await asyncio.wait([spawn(process.tasks, process.reap())], timeout=5.0)

    # -- trouble

    def _bear(self) -> None:
        self._born += 1
        process = Process(
            f"w{self._born}",
            database=self.database,
            deciders=self.deciders,
            worlds=self.worlds,
            truth=self.truth,
            oracle=self.oracle,
            fate=self.fate,
            journal=self.journal,
            dead=self._dead,
        )
        self.processes.append(process)
        self._announce(process)

    def _announce(self, process: Process) -> None:
        try:
            process.store.heartbeat(process.name)
        except Unavailable:
            return

    async def _trouble(self) -> None:
        """The dead are replaced; the database goes down and comes back; its clock is set back; workers are drained."""
        draw: random.Random = self.fate.random
        while True:
            await asyncio.sleep(draw.uniform(5.0, 60.0) if self._leases() else 600.0)
            for process in [each for each in self.processes if each.dead or (each.stopping and each.idle)]:
                self.processes.remove(process)
                process.dead = True
                self._dead.setdefault(process.name, process.provable)
                self._bear()
            if self.fate.strikes("refusal", 0.01):
                seconds = draw.choice((1.0, 10.0, 120.0))
                self.journal.note("database down", f"{seconds:.0f} s")
                self.database.refuses = True
                await asyncio.sleep(seconds)
                self.database.refuses = False
                self._ring.set()
            if self.fate.strikes("skew", 0.05):
                self.database.clock.offset = draw.choice((0.0, -1.0, -60.0))
                self.journal.note("clock set", f"{self.database.clock.offset:.0f} s")
            if self.fate.strikes("drain", 0.02):
                draw.choice(self.processes).drain()

    async def _calm(self) -> None:
        """No more faults: who is frozen thaws, who is dead is replaced."""
        self.fate.calm = True
        self.journal.note("calm")
        self.database.refuses = False
        self.database.clock.offset = 0.0
        self.worlds.quotas.clear()
        for process in self.processes:
            process.frozen_until = min(process.frozen_until, asyncio.get_running_loop().time())
        self._ring.set()

    def _publish(self) -> None:
        """What is on offer."""
        self.fate.calm = True
        first, second, third = guestbook_components(), guestbook_components(), guestbook_components()
        first["db"]["observe_every"] = "10d"
        first["cache"]["policy"] = {"attempts": 3, "within": "1h"}
        del second["jobs"]
        second["app"]["needs"] = []
        second["search"] = {"type": "test.service", "needs": ["db"], "inputs": {"env": {"C": "${cache.secrets.url}"}}}
        third["db"]["inputs"]["connections"] = 20
        third["app"]["needs"] = ["jobs", "cache"]
        first["db"]["masking"] = ["mask.sql"]
        second["db"] |= {"rotate_every": "20d", "rotation": {"grace": "10m"}}
        third["db"]["rotation"] = {"acknowledge": True}
        for number, components in enumerate((first, second, third), start=1):
            blueprint = guestbook(f"{number}.0.0", components=components)
            stored = StoredBlueprint(
                name=blueprint.name,
                version=blueprint.version,
                document=msgspec.json.encode(document(blueprint)),
                bundle=f"bundle-{number}",
                published_at=self.database.clock.now(),
                published_by=TWIN,
            )

            def keep(tx: Any, stored: StoredBlueprint = stored) -> None:
                SqlTx(tx, self.deciders).put_blueprint(stored, _bundle())

            self.database.write_from_thread(keep)

        def place(tx: Any) -> None:
            for target in TARGETS:
                SqlTx(tx, self.deciders).put_target(replace(target, concurrency=12))
            if self.setting.pull_requests:
                SqlTx(tx, self.deciders).put_target(Target(name=TARGET, provider=TARGET.partition("/")[0]))

        self.database.write_from_thread(place)
        self.fate.calm = False


def _bundle() -> bytes:
    """A bundle with a masking script."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        script = tarfile.TarInfo("mask.sql")
        script.size = 6
        archive.addfile(script, io.BytesIO(b"DELETE"))
    return content.getvalue()


async def _unhindered(when: str) -> None:
    """A way without troubles."""


def simulate(setting: Setting, *, history: bool = False) -> Report:
    """Run one simulation. Never raises for what the twin did wrong: the report's `breach` says it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
    began = time.perf_counter()
    unlooked: list[BaseException] = []
    loop = VirtualLoop(unlooked.append)
    simulation = Simulation(setting)
    journal, oracle = simulation.journal, simulation.oracle
    try:
        loop.run_until_complete(simulation.run())
    except Broken as broken:
        if journal.breach is None:
            journal.broken(str(broken))
    except Stalled as stalled:
        journal.broken("nothing can ever happen any more", str(stalled))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    if journal.breach is None and (errors := [e for e in unlooked if not isinstance(e, Died | Broken)]):
        journal.broken("an error that nobody looked at", repr(errors[0]))
    return Report(
        setting=setting,
        breach=journal.breach,
        digest=oracle.digest.hex(),
        events=oracle.events,
        commits=simulation.database.commits,
        calls=simulation.worlds.calls,
        operations=len(oracle.accepted),
        pulls=len(simulation.truth.pulls),
        previews=len(oracle.pulls.environments),
        seconds=time.perf_counter() - began,
        faults=dict(sorted(journal.counts.items())),
        history=story(simulation.database.raw, journal) if history else (),
    )

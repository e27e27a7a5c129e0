"""What the transactions are: the product's own, each called the way its caller calls it, in the thread of one actor.

A `Scene` is a database with a library; an `Act` is one schedule in it: fresh twins, what was done to them before (a day
ago, so that expiries and retries are due), and what each worker knows that it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
import psycopg
from sqlalchemy import Connection, make_url

from tests.store.interleavings.stepping import Choose, Played, Rewrite, Stage
from twin.domain.blueprint_document import document
from twin.domain.deciders import DECIDERS
from twin.domain.errors import Blocked, Transient
from twin.domain.identity import TWIN
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.engine.attempts import Attempt
from twin.engine.embedded.reaper import Reaper
from twin.engine.execute import Executor
from twin.engine.opened import OpenedTargets
from twin.ports.store import Claimed, StoredBlueprint, Tx
from twin.service.blocks import Blocks
from twin.service.changes import LocalChanges
from twin.service.principals import Principal, Request
from twin.service.twins import Twins
from twin.service.views import Accepted
from twin.store import SqlStore
from twin.store.postgres import PostgresDriver
from twin.store.transact import Driver, Transaction
from twin.testing.blueprints import TARGETS, TYPES, guestbook
from twin.testing.simulated import SimulatedKind, SimulatedWorld
from twin.testing.virtual_clock import VirtualClock
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

T = TypeVar("T")
Cast = Mapping[str, Callable[[], Any]]

ANN = Principal("ann", (("*", "admin"),))
BLOCK = "data/data-1/quota"
QUEUE = "data-1"
LEASE = 15.0
ROOMY = 4
VAULT = AeadVault((Key(bytes(range(32))),))
_DAY = 25 * 3600 * 1_000_000
_CLEAN = "DELETE FROM tasks; DELETE FROM workers; DELETE FROM blocks; DELETE FROM idempotency"


class Earlier:
    """A transaction of more than a day ago."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._least = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def now(self) -> int:
        return max(self._tx.now() - _DAY, self._least)

    def present(self) -> int:
        return min(self.now(), self._tx.present() - _DAY)

    def not_before(self, moment: int) -> None:
        self._tx.not_before(0)
        self._least = max(self._least, moment)


class InThread:
    """The product's driver, used in the caller's thread; `earlier`, a day ago. Only what these transactions need."""

    single_process = False

    def __init__(self, driver: PostgresDriver, *, earlier: bool = False) -> None:
        self._driver = driver
        self._earlier = earlier
        self.settled = driver.settled

    def now(self, connection: Connection) -> int:
        return self._driver.now(connection)

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        return self.write_from_thread(fn)

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        return self._driver.write_from_thread(
            (lambda tx: fn(cast("Transaction", Earlier(tx)))) if self._earlier else fn
        )

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return self._driver.write_from_thread(lambda tx: fn(tx.connection))

    async def look(self, fn: Callable[[Connection], T]) -> T:
        return await self.read(fn)

    async def wait_for_work(self, timeout: float) -> None:
        raise AssertionError("nobody sleeps here")

    async def close(self) -> None:
        await self._driver.close()


class Scene:
    """A database with targets and two versions of a blueprint: of one component, and of two."""

    def __init__(self, url: str) -> None:
        self.clock = VirtualClock()
        self.driver = PostgresDriver(make_url(url), self.clock, upgrade=False, connections=8)
        self.store = SqlStore(cast("Driver", InThread(self.driver)), DECIDERS)
        self.past = SqlStore(cast("Driver", InThread(self.driver, earlier=True)), DECIDERS)
        self.monitor = psycopg.connect(url, autocommit=True)
        self.listening = psycopg.connect(url, autocommit=True)
        self.listening.execute("LISTEN twin_tasks")
        self.ceiling = 0
        self._number = 0
        self.limit_target(ROOMY)
        for version, components in (("1.0.0", ("cache",)), ("2.0.0", ("cache", "jobs"))):
            types = {"cache": {"type": "test.cache"}, "jobs": {"type": "test.queue"}}
            self._publish(version, {name: types[name] for name in components})

    def limit_target(self, concurrency: int) -> None:
        """How many steps may run on the target."""
        if concurrency == self.ceiling:
            return
        self.ceiling = concurrency

        def place(tx: Tx) -> None:
            for target in TARGETS:
                tx.put_target(msgspec.structs.replace(target, concurrency=concurrency))

        run(self.store.transact(place))

    def _publish(self, version: str, components: Mapping[str, Any]) -> None:
        blueprint = guestbook(version, components=components, inputs={}, tiers={"preview": {"ttl": "24h"}})
        stored = StoredBlueprint(
            name=blueprint.name,
            version=version,
            document=msgspec.json.encode(document(blueprint)),
            bundle=f"bundle-{version}",
            published_at=self.clock.now(),
            published_by=TWIN,
        )
        run(self.store.transact(lambda tx: tx.put_blueprint(stored, b"content of " + version.encode())))

    def play(self, prepare: Callable[[Act], Cast], judge: Callable[[Act, Played], None]) -> Callable[[Choose], Played]:
        """One schedule: prepare it, play it, judge what it has made."""

        def play(choose: Choose) -> Played:
            self._number += 1
            self.monitor.execute(_CLEAN)
            self.limit_target(ROOMY)
            act = Act(self, self._number)
            cast = prepare(act)
            act.begin()
            played = Stage(self.monitor, cast, act.rewrite).play(choose)
            judge(act, played)
            return played

        return play

    def heard(self) -> int:
        """How many notifications have come since the last call."""
        self.listening.execute("SELECT 1")
        return sum(1 for _ in self.listening.notifies(timeout=0))

    def close(self) -> None:
        """Give back all connections."""
        self.monitor.close()
        self.listening.close()
        run(self.store.close())


class Act:
    """One schedule's twins and workers. `held`: what each worker knows to be its own, as (worker, step, epoch)."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.environments: list[str] = []
        self.claimed: list[tuple[str, str, str, int]] = []
        self.held: set[tuple[str, str, str, int]] = set()
        self.accepted: list[Accepted] = []
        self.keyed: dict[str, set[str]] = {}
        self.named: dict[str, set[str]] = {}
        self.free_before: set[tuple[Any, ...]] = set()
        self.world = SimulatedWorld()
        self.rewrite: Rewrite = str
        self._kinds = {
            name: SimulatedKind(name, tuple(each for each in TYPES.values() if each.provider == name), self.world)
            for name in {each.provider for each in TYPES.values()}
        }
        self._number = number
        self._requests = 0

    # -- what was before

    def create(self, version: str = "1.0.0", tier: str = "dev") -> str:
        """A twin whose steps are due."""
        return self.ask(f"e{self._number}-{len(self.environments)}", version, tier, self.scene.past)

    def lease(self, worker: str, limit: int = 1) -> Sequence[Claimed]:
        """The worker has claimed, and has died since as far as anybody knows."""
        run(self.scene.past.register(worker, "elsewhere", 1))
        return self._claim(self.scene.past, worker, limit)

    def launch(self, worker: str, environment: str) -> Attempt:
        """The worker has begun the due step, and has died since as far as anybody knows."""
        run(self.scene.past.register(worker, "elsewhere", 1))
        executor = self.executor(worker, self.scene.past)
        (attempt,) = run(self.scene.past.transact(lambda tx: executor.begin(tx, environment)))
        self._keep(worker, (attempt,))
        return attempt

    def block(self, environment: str) -> None:
        """Its step has found that it needs a human."""
        self.finish("w0", self.launch("w0", environment), "blocked", self.scene.past)

    def begin(self) -> None:
        """Note what is free already: nobody need be told of it."""
        self.free_before = self.free()
        self.scene.heard()

    def free(self) -> set[tuple[Any, ...]]:
        """Tasks that are or will be due and that nobody leases."""
        free = "SELECT entity, kind, key, due_at FROM tasks WHERE lease_owner IS NULL AND due_at IS NOT NULL"
        return set(self.scene.monitor.execute(free).fetchall())

    # -- what the actors do

    def ask(self, name: str, version: str = "1.0.0", tier: str = "dev", store: SqlStore | None = None) -> str:
        """Ask for a twin of that name."""
        fields = {"name": name, "project": "shop", "blueprint": f"guestbook@{version}", "tier": tier}
        create = parse({"signal": "create", **fields})
        assert isinstance(create, Create)
        accepted = run(self._twins(store or self.scene.store).create(create, self._request()))
        self.accepted.append(accepted)
        self.environments.append(accepted.environment_id)
        self.named.setdefault(name, set()).add(accepted.environment_id)
        return accepted.environment_id

    def signal(self, environment: str, signal: str, worker: str | None = None, **fields: Any) -> None:
        """Accept a signal; with a worker, begin its steps in the same transaction."""
        key = fields.pop("key", None)
        store = fields.pop("store", self.scene.store)
        sent = self._twins(store, worker).send(environment, parse({"signal": signal, **fields}), self._request(key))
        accepted = run(sent)
        self.accepted.append(accepted)
        if key is not None and store is self.scene.store:
            self.keyed.setdefault(key, set()).add(accepted.operation.id)

    def scale(self, environment: str, megabytes: int, worker: str | None = None, **more: Any) -> None:
        """Ask for another cache."""
        self.signal(environment, "scale", worker, component="cache", to={"megabytes": megabytes}, **more)

    def claim(self, worker: str, limit: int = 1, ceilings: Mapping[str, int] | None = None) -> Sequence[Claimed]:
        """Claim as workers do."""
        return self._claim(self.scene.store, worker, limit, ceilings)

    def work(self, worker: str) -> None:
        """Claim, start, call, report."""
        for task in self.claim(worker):
            self.step(worker, task)

    def step(self, worker: str, task: Claimed, store: SqlStore | None = None) -> None:
        """Start, call, report."""
        executor = self.executor(worker, store)
        begun = run(executor.step(task))
        self.held.discard((worker, task.entity, task.key, task.epoch))
        self._keep(worker, begun)

    def finish(self, worker: str, attempt: Attempt, how: str = "well", store: SqlStore | None = None) -> None:
        """Call and report; what that lets begin, begins."""
        step = f"{attempt.key.component}.{attempt.key.verb}"
        if how == "blocked":
            self.world.fail(step, Blocked("no more", key=BLOCK, mend="raise it"))
        elif how == "later":
            self.world.fail(step, Transient("not now"))
        begun = run(self.executor(worker, store).run(attempt))
        task = attempt.task
        self.held.discard((worker, task.entity, task.key, task.epoch))
        self._keep(worker, begun)

    def reap(self, worker: str) -> None:
        """Look for the dead, free what they held."""
        store = self.scene.store
        run(Reaper(store, self.executor(worker), LEASE, worker, tuple).reap())

    def fire(self) -> None:
        """Deliver what is due of timers and resolved blocks, as a worker does at each turn."""
        executor = self.executor("w9")
        for task in run(self.scene.store.due_timers(100)):
            run(executor.timer(task))

    def resolve(self) -> None:
        """A human says that the cause is mended."""
        run(Blocks(self.scene.store, LocalChanges()).resolve(BLOCK, self._request()))

    def executor(self, worker: str, store: SqlStore | None = None) -> Executor:
        """The worker's hands."""
        store = store or self.scene.store
        executor = Executor(
            worker=worker,
            store=store,
            types=TYPES,
            targets=OpenedTargets(store, VAULT, self._kinds),
            vault=VAULT,
            changes=LocalChanges(),
            clock=self.scene.clock,
        )
        executor.room = lambda: 1
        return executor

    def _claim(
        self, store: SqlStore, worker: str, limit: int, ceilings: Mapping[str, int] | None = None
    ) -> Sequence[Claimed]:
        tasks = run(store.claim(worker, {QUEUE: limit}, limit, ceilings=ceilings))
        for task in tasks:
            self.note(worker, task)
        return tasks

    def _keep(self, worker: str, begun: Sequence[Attempt]) -> None:
        for attempt in begun:
            self.note(worker, attempt.task)

    def note(self, worker: str, task: Claimed) -> None:
        """The worker has been told that the task is its own."""
        self.claimed.append((worker, task.entity, task.key, task.epoch))
        self.held.add((worker, task.entity, task.key, task.epoch))

    def _twins(self, store: SqlStore, worker: str | None = None) -> Twins:
        starter = _Starter(self, worker, store) if worker is not None else None
        return Twins(store, TYPES, LocalChanges(), self.scene.clock, starter)

    def _request(self, key: str | None = None) -> Request:
        self._requests += 1
        return Request(ANN, f"req-{self._number}-{self._requests}", key)


class _Starter:
    def __init__(self, act: Act, worker: str, store: SqlStore) -> None:
        self._act = act
        self._worker = worker
        self._executor = act.executor(worker, store)

    def begin(self, tx: Tx, kind: str, entity: str) -> Sequence[Attempt]:
        return self._executor.begin(tx, entity)

    def launch(self, begun: Sequence[Attempt]) -> None:
        for attempt in begun:
            self._act.note(self._worker, attempt.task)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in this thread; an event loop costs more than a statement, and the store needs none."""
    try:
        loop = asyncio.new_event_loop()
        return loop.run_until_complete(work)
    finally:
        loop.close()

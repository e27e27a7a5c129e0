"""A whole twin in one process for tests: real domain, real store (SQLite in memory), inline engine, simulated world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from twin.domain.blueprint import Blueprint
from twin.domain.blueprint_document import document
from twin.domain.component_type import ComponentType
from twin.domain.deciders import DECIDERS
from twin.domain.environment import Environment
from twin.domain.identity import TWIN
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.domain.twin import ENVIRONMENT
from twin.engine.execute import Executor
from twin.engine.opened import OpenedTargets
from twin.engine.previewing import Previewing
from twin.ports.errands import Errands
from twin.ports.store import EventFilter, Recorded, StoredBlueprint, Tx
from twin.service.changes import LocalChanges
from twin.service.history import History
from twin.service.personal_access import PersonalAccess
from twin.service.principals import Principal, Request
from twin.service.project_members import ProjectMembers
from twin.service.project_quotas import ProjectQuotas
from twin.service.twins import Twins
from twin.service.views import EnvironmentView, OperationView
from twin.store import SqlStore, open_store
from twin.testing.blueprints import TARGETS, TYPES, guestbook
from twin.testing.inline import WORKER, InlineEngine
from twin.testing.simulated import SimulatedKind, SimulatedWorld
from twin.testing.virtual_clock import VirtualClock
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

ADMIN = Principal("ann", (("*", "admin"),))


class World:
    """Made by `open_world`. `outside` is the simulated world that providers act on."""

    def __init__(self, store: SqlStore, clock: VirtualClock, outside: SimulatedWorld) -> None:
        self.store = store
        self.clock = clock
        self.outside = outside
        self.changes = LocalChanges()
        self.vault = AeadVault((Key(bytes(range(32))),))
        kinds = {
            name: SimulatedKind(name, tuple(t for t in TYPES.values() if t.provider == name), outside)
            for name in {type_.provider for type_ in TYPES.values()}
        }
        self.targets = OpenedTargets(store, self.vault, kinds)
        self.errands: dict[str, Errands] = {}
        """Those of other kinds of entities; what a test puts here is run."""
        self.executor = self.make_executor(WORKER)
        self.engine = InlineEngine(store, self.executor, clock, outside)
        previews = Previewing(store, TYPES, self.targets, self.vault, clock)
        self.twins = Twins(store, TYPES, self.changes, clock, previews=previews)
        self.project_members = ProjectMembers(store, self.changes)
        self.quotas = ProjectQuotas(store, self.changes)
        self.personal_access = PersonalAccess(store, self.vault)
        self.history = History(store, self.changes)
        self._requests = 0

    def make_executor(self, worker: str) -> Executor:
        """An executor of another worker on the same store and world."""
        types: Mapping[str, ComponentType] = TYPES
        return Executor(
            worker=worker,
            store=self.store,
            types=types,
            targets=self.targets,
            vault=self.vault,
            changes=self.changes,
            clock=self.clock,
            errands=self.errands,
        )

    def request(self, key: str | None = None) -> Request:
        """A request of the admin."""
        self._requests += 1
        return Request(ADMIN, f"req-{self._requests}", key)

    async def publish(self, blueprint: Blueprint) -> None:
        """Publish a blueprint without a folder."""
        stored = StoredBlueprint(
            name=blueprint.name,
            version=blueprint.version,
            document=msgspec.json.encode(document(blueprint)),
            bundle=f"bundle-{blueprint.version}",
            published_at=self.clock.now(),
            published_by=TWIN,
        )

        def keep(tx: Tx) -> None:
            tx.put_blueprint(stored, f"content of {stored.bundle}".encode())

        await self.store.transact(keep)

    async def create(self, name: str = "dev", **fields: Any) -> str:
        """Ask for a guestbook; the environment's id."""
        body = {"signal": "create", "name": name, "project": "shop", "blueprint": "guestbook", **fields}
        create = parse(body)
        assert isinstance(create, Create)
        return (await self.twins.create(create, self.request())).environment_id

    async def send(self, environment: str, signal: str, **fields: Any) -> str:
        """Send a signal; the operation's id."""
        sent = await self.twins.send(environment, parse({"signal": signal, **fields}), self.request())
        return sent.operation.id

    async def env(self, environment: str) -> Environment:
        """The state."""
        row = await self.store.entity(ENVIRONMENT.kind, environment)
        assert row is not None
        state: Environment = row.state
        return state

    async def view(self, environment: str) -> EnvironmentView:
        """As people see it."""
        return await self.twins.get(environment, ADMIN)

    async def operation(self, operation: str) -> OperationView:
        """An operation as it is now."""
        return await self.twins.operation(operation, ADMIN)

    async def events(self, environment: str) -> list[Recorded]:
        """The whole history of an environment."""
        page = await self.store.events(EventFilter(entity=environment), limit=1000)
        return list(page.items)

    async def run_until_quiet(self) -> None:
        """Let everything happen that will happen by itself."""
        await self.engine.run_until_quiet()


@asynccontextmanager
async def open_world(seed: int = 0) -> AsyncIterator[World]:
    """A world with two targets and the guestbook published."""
    clock = VirtualClock(seed)
    store = open_store("sqlite://", deciders=DECIDERS, clock=clock, inline=True)
    world = World(store, clock, SimulatedWorld())

    def place(tx: Tx) -> None:
        for target in TARGETS:
            tx.put_target(target)

    try:
        await store.transact(place)
        await store.register(WORKER, "inline", 1)
        await world.publish(guestbook())
        yield world
    finally:
        await world.targets.close()
        await store.close()

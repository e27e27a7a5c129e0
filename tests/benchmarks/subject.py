"""Twin as it is measured: real service, store, engine, vault and clock, with a provider that does nothing.

One environment has one component, whose number `n` the signal `scale` sets. A signal then leads to exactly one step:
accepted, begun, called, ended, two commits. `Twin.signal` returns once its operation has succeeded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from api.clock import SystemClock
from twin import logs
from twin.domain.blueprint import Blueprint
from twin.domain.blueprint_document import document, parse
from twin.domain.component_type import SCALABLE, ComponentType, inputs_schema
from twin.domain.deciders import DECIDERS
from twin.domain.identity import TWIN, ComponentRef, EnvironmentId, Placement
from twin.domain.signals import parse as parse_signal
from twin.domain.signals.create import Create
from twin.domain.targets import Target
from twin.engine.embedded.names import new_name
from twin.engine.embedded.worker import Worker
from twin.engine.execute import Executor
from twin.engine.opened import OpenedTargets
from twin.ports.provider import Applied, Observed, Provider, Resource, StepContext
from twin.ports.store import StoredBlueprint
from twin.service.changes import LocalChanges
from twin.service.history import History
from twin.service.principals import Principal, Request
from twin.service.twins import Twins
from twin.service.views import Accepted
from twin.store import SqlStore, open_store
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

ADMIN = Principal("ann", (("*", "admin"),))
PROJECT = "bench"
SLOTS = 64


class CounterInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """A number, and nothing that would have to be done for it."""

    n: Annotated[int, Meta(ge=0, extra_json_schema=SCALABLE)] = 0


COUNTER = ComponentType(name="bench.counter", provider="bench", schema=inputs_schema(CounterInputs))
TYPES = {COUNTER.name: COUNTER}
TARGET = Target(name="bench-1", provider="bench", concurrency=10_000)


def counter() -> Blueprint:
    """One component."""
    return parse(
        {
            "apiVersion": "twin/v1",
            "kind": "Blueprint",
            "metadata": {"name": "counter", "version": "1.0.0"},
            "components": {"it": {"type": COUNTER.name}},
        }
    )


class Nothing:
    """A provider without a world. `seconds` is how long each apply takes."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    async def identify(self) -> Placement:
        """Nowhere."""
        return Placement(TARGET.name, "nowhere:0", "nothing")

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """All is well."""
        return Observed(external_id=ref.name)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """The no-op step."""
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return Applied(external_id=ref.name)

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Nothing to remove."""

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Nothing."""
        for resource in ():
            yield resource

    async def close(self) -> None:
        """Nothing is open."""


class Kind:
    """See `twin.ports.provider.ProviderKind`."""

    name = "bench"
    types = (COUNTER,)

    def __init__(self, seconds: float = 0.0) -> None:
        self._provider = Nothing(seconds)

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Everything goes."""

    def open(self, target: Target, credentials: Mapping[str, str]) -> Provider:
        """The one provider."""
        return self._provider


class Twin:
    """Made by `open_twin`."""

    def __init__(self, store: SqlStore, *, seconds: float = 0.0, slots: int = SLOTS, lease: float = 15.0) -> None:
        clock, name = SystemClock(), new_name()
        self.store = store
        self.changes = LocalChanges()
        vault = AeadVault((Key(bytes(range(32))),))
        self.opened = OpenedTargets(store, vault, {"bench": Kind(seconds)})
        self.executor = Executor(
            worker=name,
            store=store,
            types=TYPES,
            targets=self.opened,
            vault=vault,
            changes=self.changes,
            clock=clock,
        )
        self.worker = Worker(name, store, self.executor, slots=slots, lease=lease, drain=1.0)
        self.twins = Twins(store, TYPES, self.changes, clock, self.worker)
        self.history = History(store, self.changes)
        self._numbers: dict[str, int] = {}

    async def publish(self) -> None:
        """Have the target and the blueprint."""
        stored = StoredBlueprint(
            name="counter",
            version="1.0.0",
            document=msgspec.json.encode(document(counter())),
            bundle="bundle",
            published_at=SystemClock().now(),
            published_by=TWIN,
        )

        def keep(tx: Any) -> None:
            tx.put_target(TARGET)
            tx.put_blueprint(stored, b"content")

        await self.store.transact(keep)

    async def create(self, name: str) -> str:
        """A new environment, ready; its id."""
        accepted = await self.ask(name)
        await self.ended(accepted.operation.id)
        return accepted.environment_id

    async def ask(self, name: str) -> Accepted:
        """Ask for a new environment."""
        create = parse_signal(
            {"signal": "create", "name": name, "project": PROJECT, "blueprint": "counter", "tier": "dev"}
        )
        assert isinstance(create, Create)
        return await self.twins.create(create, Request(ADMIN, f"make-{name}"))

    async def signal(self, environment: str) -> None:
        """One signal, to its result."""
        accepted = await self.send(environment)
        await self.ended(accepted)

    async def send(self, environment: str) -> str:
        """One signal, to its acceptance; the operation's id."""
        number = self._numbers[environment] = self._numbers.get(environment, 0) + 1
        scale = parse_signal({"signal": "scale", "component": "it", "n": number % 1_000_000})
        sent = await self.twins.send(environment, scale, Request(ADMIN, f"req-{number}"))
        return sent.operation.id

    async def ended(self, operation: str) -> None:
        """Wait for success."""
        view = await self.twins.operation(operation, ADMIN, wait=60)
        if view.status != "succeeded":
            raise RuntimeError(f"operation {operation}: {view}")


def quiet() -> None:
    """Log as `twin serve` does by default, to nowhere: lines are made and rendered, and no terminal is measured."""
    logs.configure("json", "info", stream=open(os.devnull, "w"))  # noqa: SIM115


@asynccontextmanager
async def open_twin(
    url: str, *, work: bool = True, seconds: float = 0.0, slots: int = SLOTS, lease: float = 15.0, publish: bool = True
) -> AsyncIterator[Twin]:
    """Twin on a database, with an embedded worker unless told otherwise."""
    quiet()
    store = open_store(url, deciders=DECIDERS, clock=SystemClock(), upgrade=True)
    twin = Twin(store, seconds=seconds, slots=slots, lease=lease)
    if publish:
        await twin.publish()
    working = asyncio.create_task(twin.worker.run()) if work else None
    try:
        while work and twin.worker._room() == 0:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)
        yield twin
    finally:
        twin.worker.stop()
        if working is not None:
            await working
        await twin.opened.close()
        await store.close()

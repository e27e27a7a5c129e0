"""A world per test on a real SQLite database, with the real clock, for workers that really run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from api.clock import SystemClock
from twin.domain.deciders import DECIDERS
from twin.engine.embedded.names import new_name
from twin.engine.embedded.worker import Worker
from twin.ports.store import Tx
from twin.store import open_store
from twin.testing.blueprints import TARGETS, guestbook
from twin.testing.simulated import SimulatedWorld
from twin.testing.virtual_clock import VirtualClock
from twin.testing.world import World

Employ = Callable[..., Worker]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    store = open_store(f"sqlite:///{tmp_path / 'twin.db'}", deciders=DECIDERS, clock=clock)
    world = World(store, cast("VirtualClock", clock), SimulatedWorld())

    def place(tx: Tx) -> None:
        for target in TARGETS:
            tx.put_target(target)

    await store.transact(place)
    await world.publish(guestbook())
    yield world
    await world.targets.close()
    await store.close()


@pytest.fixture
async def employ(world: World) -> AsyncIterator[Employ]:
    """Starts a worker; those that still run at the end are stopped, whatever they do."""
    working: list[tuple[Worker, asyncio.Task[None]]] = []

    def start(**settings: Any) -> Worker:
        name = new_name()
        worker = Worker(name, world.store, world.make_executor(name), **{"lease": 5.0, "drain": 0.05, **settings})
        working.append((worker, asyncio.create_task(worker.run(), name=name)))
        return worker

    yield start
    for worker, _ in working:
        worker.stop()
    await asyncio.gather(*(task for _, task in working))

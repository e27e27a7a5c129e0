"""Makes many sleeping environments in a SQLite file, the way that every environment is made: `Twins.create`, then the
engine. Only the providers are simulated. Run as a program it makes the file and prints the seconds that took, by the
clock and on the CPU:

    python -m tests.acceptance.fleet FILE COUNT BLUEPRINT
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from twin import logs
from twin.domain.blueprint import Blueprint
from twin.domain.deciders import DECIDERS
from twin.ports.store import Tx
from twin.store import open_store
from twin.testing.blueprints import TARGETS, guestbook, guestbook_components
from twin.testing.inline import WORKER
from twin.testing.simulated import SimulatedWorld
from twin.testing.virtual_clock import VirtualClock
from twin.testing.world import World

AT_ONCE = 100
"""Environments that are created before the engine gets its turn: enough for it to have work, few enough to be near."""


def database() -> Blueprint:
    """A database and nothing else: the smallest environment with secrets."""
    return guestbook(metadata={"name": "database", "version": "1.0.0"}, components={"db": guestbook_components()["db"]})


BLUEPRINTS = {"guestbook": guestbook, "database": database}


async def make(file: Path, count: int, blueprint: str) -> tuple[float, float]:
    """Make them; the seconds that took, and those on the CPU. Every tenth one has a time to live, and so a timer."""
    # The clock stands at the real time: the service that finds the file must find nothing due in it.
    clock = VirtualClock(start=datetime.now(UTC))
    store = open_store(f"sqlite:///{file}", deciders=DECIDERS, clock=clock, inline=True)
    world = World(store, clock, SimulatedWorld())

    def place(tx: Tx) -> None:
        for target in TARGETS:
            tx.put_target(target)

    await store.transact(place)
    await world.publish(BLUEPRINTS[blueprint]())
    await store.register(WORKER, "inline", 1)
    gc.freeze()
    began, spent = time.monotonic(), time.process_time()
    for number in range(count):
        fields = {"ttl": "30d"} if number % 10 == 0 else {}
        await world.create(f"env-{number}", blueprint=blueprint, **fields)
        if number % AT_ONCE == AT_ONCE - 1 or number == count - 1:
            while await world.engine.run_due():
                pass
    seconds = time.monotonic() - began, time.process_time() - spent
    await world.targets.close()
    await store.bury(WORKER)
    await store.close()
    return seconds


if __name__ == "__main__":
    logs.configure("json", "error")
    took = asyncio.run(make(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
    sys.stdout.write(" ".join(f"{seconds:.1f}" for seconds in took))

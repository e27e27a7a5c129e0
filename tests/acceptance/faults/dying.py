"""Lives of one environment in processes that die at a chosen COMMIT: real store, engine, vault; the world is a file.

    python -m tests.acceptance.faults.dying FOLDER

For n = 1, 2, … a child is forked that creates, scales and destroys an environment, and kills itself
with SIGKILL just before or just after its n-th COMMIT; then another one, which goes on from the same file and the same
Idempotency-Keys and must bring all to its end. Ends once a child has fewer commits. Prints a line per death, as JSON.

What dies is the process and not a part of it; nothing of the product is replaced: `sqlite3` itself is told to count.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from api.clock import SystemClock
from tests.waiting import soon
from twin import logs
from twin.domain.deciders import DECIDERS
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.engine.embedded.names import new_name
from twin.engine.embedded.worker import Worker
from twin.ports.store import EventFilter, Tx
from twin.service.principals import Request
from twin.store import open_store
from twin.testing.blueprints import TARGETS, guestbook, guestbook_components
from twin.testing.simulated import SimulatedWorld, Standing
from twin.testing.world import ADMIN, World, open_world

WHEN = ("before", "after")
PATIENCE = 40.0


class Bomb:
    """Counts the COMMITs of this process. `at` 0 never goes off."""

    def __init__(self) -> None:
        self.at = 0
        self.when = "before"
        self.count = 0
        self._one = threading.Lock()

    def commit(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        with self._one:
            self.count += 1
            mine = self.count == self.at
        if mine and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = super(Counted, connection).execute("COMMIT")
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


bomb = Bomb()


class Counted(sqlite3.Connection):
    """What `sqlite3.connect` gives in this process."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return bomb.commit(self) if sql == "COMMIT" else super().execute(sql, *parameters)

    def commit(self) -> None:
        if self.in_transaction:  # so ends a migration
            bomb.commit(self)


class Kept(MutableMapping[str, Standing]):
    """What stands in the world, kept in a file at once: it outlives the process, as servers do."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = file.with_suffix(".log")
        found = file.read_bytes() if file.exists() else b"{}"
        self._all = msgspec.json.decode(found, type=dict[str, Standing])

    def __getitem__(self, name: str) -> Standing:
        return self._all[name]

    def __setitem__(self, name: str, thing: Standing) -> None:
        if name not in self._all:
            with self._log.open("a") as log:
                log.write(f"{name}\n")
        self._all[name] = thing
        self._write()

    def __delitem__(self, name: str) -> None:
        del self._all[name]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def _write(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self._all))
        new.replace(self._file)

    @property
    def made(self) -> list[str]:
        """Each thing as often as it was made where it did not stand."""
        return self._log.read_text().split() if self._log.exists() else []


class ChangedClock(SystemClock):
    """The machine's clock, set back by an hour once `back` is true, in the middle of the environment's life."""

    back = False

    def now(self) -> datetime:
        return datetime.now(UTC) - (timedelta(hours=1) if self.back else timedelta())


async def open_twin(folder: Path, clock: Any) -> World:
    """A twin on the file in the folder, with what stands outside."""
    store = open_store(f"sqlite:///{folder / 'twin.db'}", deciders=DECIDERS, clock=clock)
    outside = SimulatedWorld()
    outside.standing = Kept(folder / "world.json")  # type: ignore[assignment]
    world = World(store, clock, outside)

    def place(tx: Tx) -> None:
        for target in TARGETS:
            tx.put_target(target)

    await store.transact(place)
    components = {name: each for name, each in guestbook_components().items() if name == "cache"}
    await world.publish(guestbook(components=components))
    return world


async def live(folder: Path, clock: Any) -> None:
    """Create, scale, destroy; what was sent before is sent again under the same keys."""
    world = await open_twin(folder, clock)
    name = new_name()
    worker = Worker(name, world.store, world.make_executor(name), lease=3.0, drain=5.0)
    working = asyncio.create_task(worker.run())
    requests = iter(range(9))

    def request() -> Request:
        return Request(ADMIN, f"req-{next(requests)}", f"key-{next(requests)}")

    async def ended(operation: str) -> None:
        async def status() -> str | None:
            view = await world.operation(operation)
            return None if view.status == "running" else view.status

        assert await soon(status, within=PATIENCE) == "succeeded"

    create = parse({"signal": "create", "name": "dev", "project": "shop", "blueprint": "guestbook"})
    assert isinstance(create, Create)
    accepted = await world.twins.create(create, request())
    environment = accepted.environment_id
    _note(folder, accepted.operation.id)
    await ended(accepted.operation.id)
    if isinstance(clock, ChangedClock):
        clock.back = True
    for body in ({"signal": "scale", "component": "cache", "megabytes": 32}, {"signal": "destroy"}):
        sent = await world.twins.send(environment, parse(body), request())
        _note(folder, sent.operation.id)
        await ended(sent.operation.id)
    worker.stop()
    await working
    await world.targets.close()
    await world.store.close()


def _note(folder: Path, operation: str) -> None:
    """Acknowledged: from here on it must not be lost."""
    with (folder / "acknowledged").open("a") as file:
        file.write(f"{operation}\n")


async def judge(folder: Path) -> dict[str, Any]:
    """What has become of it, from the file and the world."""
    world = await open_twin(folder, SystemClock())
    page = await world.store.events(EventFilter(project="shop"), limit=1000)
    entities = {event.entity for event in page.items}
    by_type = {kind: [e for e in page.items if e.type == kind] for kind in ("operation_accepted", "operation_ended")}
    found = {
        "environments": len(entities),
        "accepted": sorted(event.operation_id or "" for event in by_type["operation_accepted"]),
        "ended": sorted(event.operation_id or "" for event in by_type["operation_ended"]),
        "acknowledged": sorted(set((folder / "acknowledged").read_text().split())),
        "status": [(await world.view(entity)).status for entity in entities],
        "standing": list(world.outside.standing),
        "made": world.outside.standing.made,  # type: ignore[attr-defined]
        "findings": len((await world.store.verify()).findings),
        "ordered": [e.at for e in page.items] == sorted(e.at for e in page.items),
    }
    await world.targets.close()
    await world.store.close()
    return found


def child(work: Any) -> int:
    """Run it in a child; its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            asyncio.run(work)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        finally:
            os._exit(code)
    work.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _go_on(folder: Path) -> None:
    await live(folder, SystemClock())
    (folder / "found.json").write_text(json.dumps(await judge(folder)))


def main(folder: Path) -> None:
    """A line per death; with n = 0 first, one for a life in which nobody dies and the clock is set back."""
    folder.mkdir()
    asyncio.run(_warm())
    bomb.count = 0
    _tell(folder / "clock", 0, "", lambda here: child(live(here, ChangedClock())))
    for number in itertools.count(1):
        died = []
        for when in WHEN:
            bomb.at, bomb.when = number, when
            died.append(_tell(folder / f"{number}-{when}", number, when, _die))
        if not any(died):
            return


async def _warm() -> None:
    """Have all modules loaded once, for all children."""
    async with open_world():
        pass


def _die(here: Path) -> int:
    return child(live(here, SystemClock()))


def _tell(here: Path, number: int, when: str, first: Callable[[Path], int]) -> int:
    here.mkdir()
    died = first(here)
    bomb.at = 0
    again = child(_go_on(here))
    report = here / "found.json"
    found = json.loads(report.read_text()) if report.exists() else {}
    line = {"n": number, "when": when, "died": died, "again": again}
    sys.stdout.write(json.dumps(line | found) + "\n")
    sys.stdout.flush()
    shutil.rmtree(here)
    return died


if __name__ == "__main__":
    logs.configure("json", "error")
    connect = sqlite3.connect
    sqlite3.connect = lambda *a, **k: connect(*a, **{"factory": Counted, **k})  # type: ignore[assignment]
    main(Path(sys.argv[1]))

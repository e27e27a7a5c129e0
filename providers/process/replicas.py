"""Making a service's replicas what they should be: start, wait until healthy, stop the old, scale."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from providers.process import client, health, logs, world
from providers.process.account import Account
from providers.process.client import ADDRESS_IN_USE, Order
from providers.process.environment import of_replica
from providers.process.health import Complaint
from providers.process.layout import Layout, ServiceDirectory
from providers.process.source import Source
from providers.process.spec import Service
from providers.process.world import SlotState
from twin.children import processes
from twin.children.environment import marks
from twin.children.hiding import hide
from twin.children.processes import Marked
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef

AT_ONCE = 4  # replicas that start at the same time, after the first of a version is healthy
EXITS = 2  # starts that may end by themselves before the command is to blame
BUSY_PORTS = 5  # starts that may find their port taken by a stranger
ANSWERS_WITHIN = 5.0  # seconds that a replica which was healthy once gets to answer before it is replaced
LAST_LINES = 15
SILENT_FOR = 2.0  # seconds that a supervisor may take to say what it started
_SLOT = re.compile(r"^(\d+)-([0-9a-f]+)$")
_BY_OTHERS = {128 + signal.SIGKILL, 128 + signal.SIGTERM}


class Slot(Struct, frozen=True):
    """One replica as it is: its place, what its supervisor recorded, and what of it is alive."""

    name: str
    index: int
    state: SlotState | None
    processes: tuple[Marked, ...]

    @property
    def running(self) -> bool:
        """Whether the app's first process is alive under its supervisor."""
        if self.state is None or self.state.exit is not None:
            return False
        alive = {process.pid for process in self.processes}
        return {self.state.app, self.state.supervisor} <= alive

    def fate(self) -> str:
        """How it came not to run, for a person."""
        if self.state is not None and self.state.exit is not None:
            return f"exited with {self.state.exit}"
        if self.state is not None and self.processes:
            return "lost its supervisor" if self.state.app in {p.pid for p in self.processes} else "is ending"
        return "is gone"


def survey(ref: ComponentRef, directory: ServiceDirectory) -> list[Slot]:
    """All slots of a service: from the process table and from the records. Blocks for some milliseconds."""
    alive: dict[str, list[Marked]] = {}
    for process in world.of_service(ref.mark, ref.name, directory.slots):
        alive.setdefault(process.slot, []).append(process)
    names = set(alive) | {path.stem for path in directory.slots.glob("*.json")}
    slots = []
    for name in names:
        if match := _SLOT.match(name):
            state = world.read_state(directory.slots / f"{name}.json")
            slots.append(Slot(name, int(match[1]), state, tuple(alive.get(name, ()))))
    return sorted(slots, key=lambda slot: (slot.index, slot.name))


def version(key: bytes, service: Service, source: Source) -> str:
    """What a replica is a replica of. Keyed, so that the digest of a secret tells nothing without the target's key."""
    text = json.dumps([service.command, sorted(service.variables().items()), source.key, service.health.path])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]


class Replicas(Struct, frozen=True, kw_only=True):
    """The replicas of one service while it is being changed; the caller holds the service's lock."""

    ref: ComponentRef
    target: str
    layout: Layout
    directory: ServiceDirectory
    host: str
    account: Account | None
    beat: Callable[[], Awaitable[None]]
    hidden: list[str]
    secrets: list[str]

    def __repr__(self) -> str:
        return f"Replicas({self.ref.name})"

    async def converge(
        self, service: Service, source: Source, digest: str, deadline: datetime, *, lingering: bool = False
    ) -> list[SlotState]:
        """Exactly `service.replicas` healthy replicas of this version; an old one runs until its successor is healthy,
        or, `lingering`, beyond that.

        A new version must prove itself in the first replica before any other is touched.
        """
        wanted = range(service.replicas)
        states: dict[int, SlotState] = {}
        turn = asyncio.Semaphore(AT_ONCE)

        async def stop_but(keep: Callable[[Slot], bool]) -> None:
            found = [slot for slot in await self.slots() if not keep(slot)]
            await self.stop([slot for slot in found if not (lingering and slot.running)], service.stop_grace)

        async def replace(index: int) -> None:
            async with turn:
                states[index] = await self._ensure(index, service, source, digest, deadline)
                await stop_but(lambda slot: slot.index != index or slot.name == f"{index}-{digest}")

        if wanted:
            await replace(0)
            await _all_or_first_failure([replace(index) for index in wanted[1:]])
        await stop_but(lambda slot: slot.index in states)
        return [states[index] for index in wanted]

    async def slots(self) -> list[Slot]:
        """What is there now."""
        return await asyncio.to_thread(survey, self.ref, self.directory)

    async def stop(self, slots: Iterable[Slot], grace: float, *, keep_record: bool = False) -> None:
        """End these replicas and forget them; `keep_record` remembers their ports."""
        names = {slot.name for slot in slots}
        if not names:
            return

        def find() -> list[Marked]:
            found = world.of_service(self.ref.mark, self.ref.name, self.directory.slots)
            return [process for process in found if process.slot in names]

        if left := await processes.stop(find, grace=grace, beat=self.beat):
            raise Transient(f"Processes do not end: {', '.join(str(process.pid) for process in left)}.")
        for name in names:
            if not keep_record:
                for kind in ("json", "ready", "lock"):
                    (self.directory.slots / f"{name}.{kind}").unlink(missing_ok=True)

    async def _ensure(self, index: int, service: Service, source: Source, digest: str, deadline: datetime) -> SlotState:
        """A healthy replica in the slot: the one that is there, or a new one."""
        exits = busy = 0
        name = f"{index}-{digest}"
        ready = self.directory.slots / f"{name}.ready"
        port = await self._last_port(index)
        while True:
            slot = await self._slot(index, name)
            if not slot.running:
                await self.stop([slot], 0.0 if slot.state and slot.state.exit is not None else service.stop_grace)
                await self._start(index, digest, service, source, port)
                slot = await self._slot(index, name, started=True)
            was_ready = ready.exists()
            if was_ready or slot.state is None:
                limit = time.time() + ANSWERS_WITHIN
            else:
                limit = slot.state.started + service.health.deadline
            complaint, slot = await self._healthy(slot, service, min(limit, deadline.timestamp()))
            if complaint is None and slot.state is not None:
                ready.touch(mode=0o600)
                return slot.state
            if was_ready and slot.running and complaint is not None and complaint.answered:
                # it lives and says itself what it lacks, such as its database: ending it would mend nothing
                raise Transient(f"Replica {index} is not healthy: {complaint.text}.")
            ended = slot.state.exit if slot.state is not None else None
            said = self._last_words(slot)
            await self.stop([slot], service.stop_grace)
            if was_ready and ended is None:
                continue  # it hung: a fresh one gets its full time
            if ended is None:
                within = f" within {service.health.deadline:g} s (health.deadline)" if slot.running else ""
                why = complaint.text if complaint else slot.fate()
                raise Transient(f"Replica {index} did not become healthy{within}: {why}.{said}")
            if ADDRESS_IN_USE.search(said) and busy < BUSY_PORTS:
                busy, port = busy + 1, None
                continue
            if ended in _BY_OTHERS:
                raise Transient(f"Replica {index} was killed (exit code {ended}) before it was healthy.{said}")
            exits += 1
            if exits >= EXITS:
                raise Terminal(
                    f"The command ends by itself, {exits} times with exit code {ended} at last, "
                    f"before it answers on $PORT.{said}",
                    field="command",
                    mend="Run the command with PORT set and see that it serves HTTP; then send the change or retry.",
                )

    async def _start(self, index: int, digest: str, service: Service, source: Source, port: int | None) -> None:
        name = f"{index}-{digest}"
        order = Order(
            index=index,
            digest=digest,
            command=service.command,
            env=of_replica(self.ref, str(source.tree), self.directory, name, index, service.variables()),
            secrets=self.secrets,
            cwd=source.tree,
            port=port,
            host=self.host,
            account=self.account,
        )
        await self.beat()
        await asyncio.to_thread(
            client.start, self.layout, self.directory, order, marks(self.ref, name), target=self.target
        )

    async def _healthy(self, slot: Slot, service: Service, limit: float) -> tuple[Complaint | None, Slot]:
        """Wait for the first good answer or the replica's end; None, or what was wrong last."""
        pause = 0.05
        while slot.running and slot.state is not None:
            left = limit - time.time()
            complaint = await health.check(
                self.host, slot.state.port, service.health.path, max(0.2, min(left, health.ONE_CHECK))
            )
            slot = await self._slot(slot.index, slot.name)
            if complaint is None and slot.running:  # it is ours that answered, for it still lives
                return None, slot
            if time.time() >= limit:
                return complaint or Complaint(slot.fate()), slot
            await self.beat()
            await asyncio.sleep(min(pause, max(left, 0.0)))
            pause = min(pause * 1.5, 0.5)
        return Complaint(slot.fate()), slot

    async def _slot(self, index: int, name: str, *, started: bool = False) -> Slot:
        """The slot as it is, once a supervisor that is just starting in it has said what it started."""
        give_up = time.time() + SILENT_FOR
        while True:
            slot = next((s for s in await self.slots() if s.name == name), Slot(name, index, None, ()))
            silent = slot.state is None and (bool(slot.processes) or started)
            if not silent or time.time() > give_up:
                return slot
            await asyncio.sleep(0.05)

    async def _last_port(self, index: int) -> int | None:
        """The port that this replica had before, so that its address stays when nothing else needs it to change."""
        ports = [slot.state.port for slot in await self.slots() if slot.index == index and slot.state is not None]
        return ports[0] if ports else None

    def _last_words(self, slot: Slot) -> str:
        """The end of what a replica wrote since its start, for an error, without secrets."""
        since = slot.state.started - 1.0 if slot.state else 0.0
        lines = [
            line.text
            for line in logs.tail(self.directory.logs, LAST_LINES, slot.name)
            if line.at is not None and line.at.timestamp() >= since
        ]
        return hide("\nIts last lines:\n" + "\n".join(lines), self.hidden) if lines else " It wrote nothing."


def forget(directory: Path) -> None:
    """Remove records without processes (call it when nothing runs)."""
    for path in directory.glob("*"):
        path.unlink(missing_ok=True)


async def _all_or_first_failure(work: list[Awaitable[None]]) -> None:
    """Run all; the first failure cancels the rest and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

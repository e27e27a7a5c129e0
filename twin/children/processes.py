"""The processes of components as the operating system shows them, by the marks that they carry, and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterable

import psutil
from msgspec import Struct

from twin.children.environment import COMPONENT, ENVIRONMENT, SLOT

CLOCK_SLACK = 5.0  # seconds between a process's start as the kernel and as its supervisor tells it
AFTER_KILL = 10.0  # seconds that the kernel may take to end what was killed


class Recorded(Struct, frozen=True):
    """A process that a record names, with its start in seconds since 1970."""

    pid: int
    started: float
    component: str
    slot: str


class Marked(Struct, frozen=True):
    """A live process of a component: by its own mark, its parent's, or a record that its start confirms."""

    pid: int
    started: float
    component: str
    slot: str
    name: str


def marked(environment_mark: str, *, component: str | None = None, recorded: Iterable[Recorded] = ()) -> list[Marked]:
    """Every live process of an environment, or of one component of it.

    Programs that overwrite their title overwrite their marks too: so children of marked processes count, and the
    `recorded` ones, if they started when the record says.
    """
    found: dict[int, Marked] = {}
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            with process.oneshot():
                children.setdefault(process.ppid(), []).append(process)
            variables = process.environ()
            if variables.get(ENVIRONMENT) != environment_mark:
                continue
            if component is None or variables.get(COMPONENT) == component:
                _add(found, process, variables.get(COMPONENT, ""), variables.get(SLOT, ""))
    for record in recorded:
        if record.pid not in found:
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(record.pid)
                if abs(process.create_time() - record.started) < CLOCK_SLACK:
                    _add(found, process, record.component, record.slot)
    queue = list(found.values())
    while queue:
        parent = queue.pop()
        for child in children.get(parent.pid, ()):
            if child.pid not in found and _add(found, child, parent.component, parent.slot):
                queue.append(found[child.pid])  # noqa: PERF401 - `_add` decides
    return sorted(found.values(), key=lambda process: process.pid)


def _add(found: dict[int, Marked], process: psutil.Process, component: str, slot: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.pid != os.getpid() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            found[process.pid] = Marked(process.pid, process.create_time(), component, slot, process.name())
            return True
    return False


def send(processes: Iterable[Marked], number: int) -> None:
    """Signal each process that is still the one that was seen; with SIGKILL its whole process group too."""
    for seen in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(seen.pid)
            if process.create_time() != seen.started:
                continue
            if number == signal.SIGKILL:
                group = os.getpgid(seen.pid)
                if group != os.getpgrp():
                    os.killpg(group, number)
            process.send_signal(number)


async def stop(find: Callable[[], list[Marked]], *, grace: float, beat: Callable[[], Awaitable[None]]) -> list[Marked]:
    """End all that `find` finds: SIGTERM once, after `grace` seconds SIGKILL; what is left after that (nothing, unless
    the kernel holds it)."""
    clock = asyncio.get_running_loop()
    alive = await asyncio.to_thread(find)
    if not alive:
        return []
    send(alive, signal.SIGTERM)
    kill_at = clock.time() + grace
    give_up_at = kill_at + AFTER_KILL
    pause = 0.02
    while alive and clock.time() < give_up_at:
        if clock.time() >= kill_at:
            send(alive, signal.SIGKILL)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.25)
        await beat()
        alive = await asyncio.to_thread(find)
    return alive

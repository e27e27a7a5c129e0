"""An event loop whose time is a number: it never waits, and every run is the same."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from ulid import ULID

from twin.testing.simulator.setting import Fate

START = datetime(2026, 1, 1, tzinfo=UTC)

OWNER: contextvars.ContextVar[dict[asyncio.Task[Any], None] | None] = contextvars.ContextVar("OWNER", default=None)
"""The tasks of the process that runs now, in the order of their birth: whatever it starts is added to them."""


class Stalled(Exception):
    """Nothing is left that could ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """When nothing is ready, time goes on to the next timer. `failed` hears of errors that nobody looks at."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._selector = self
        self._seconds = 0.0
        # Wide enough for a float of many years: else, from day 194 on, a timer that is due would never run.
        self._clock_resolution = 1e-7
        self._failed = failed
        self.set_task_factory(_task)
        self.set_exception_handler(self._unlooked)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._seconds

    def select(self, timeout: float | None) -> tuple[()]:
        """In the place of a selector: nothing comes from outside, so let the time pass."""
        if timeout is None:
            raise Stalled("nothing is scheduled")
        if timeout > 0:
            timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
            # Exactly to the timer: a sum of floats may fall short of it for ever.
            self._seconds = min(self._seconds + timeout, timers[0].when()) if timeout >= 86_400 else timers[0].when()
        return ()

    def _process_events(self, event_list: Any) -> None:
        """None come."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def _unlooked(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if (error := context.get("exception")) is not None:
            self._failed(error)


def _task(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **more)
    owner = OWNER.get()
    if owner is not None:
        owner[task] = None
        task.add_done_callback(owner.pop)
    return task


def spawn(owner: dict[asyncio.Task[Any], None] | None, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a coroutine as a task of a process; None: of nobody who could die."""
    context = contextvars.copy_context()
    context.run(OWNER.set, owner)
    return context.run(asyncio.get_running_loop().create_task, work)


class SimulatedClock:
    """See `twin.ports.clock.Clock`. `offset`, in seconds, is how wrong it goes."""

    def __init__(self, fate: Fate, offset: float = 0.0) -> None:
        self._fate = fate
        self.offset = offset

    def now(self) -> datetime:
        """The loop's time."""
        return START + timedelta(seconds=round(asyncio.get_running_loop().time() + self.offset, 6))

    def fresh_id(self, prefix: str) -> str:
        """`<prefix>_<ULID>`."""
        milliseconds = int(asyncio.get_running_loop().time() * 1000) + 1_767_225_600_000
        return f"{prefix}_{ULID(milliseconds.to_bytes(6, 'big') + self._fate.random.randbytes(10))}"

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._fate.random.random()

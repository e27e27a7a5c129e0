"""What the two drivers have in common: an open transaction, and how to run functions in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError

from twin.domain.errors import Unavailable
from twin.ports.clock import Clock

F = TypeVar("F")
T = TypeVar("T")


TaskPlace = tuple[str, str, str]
"""The key of a task's row: entity, kind, key."""


class RunAgain(Exception):
    """The transaction met another that was quicker: roll back and run the function again."""


class Transaction(Protocol):
    """An open transaction. `clock` gives ids and jitter; the time may come from the database instead."""

    connection: Connection
    clock: Clock
    woken: set[TaskPlace]
    """The tasks that became due in it and were not claimed in it: if there are any, engines should look."""

    def now(self) -> int:
        """The time in microseconds: never before one given earlier to this transaction."""
        ...

    def not_before(self, moment: int) -> None:
        """Raise the time to that of an entity's last event, and read the clock again: a lock may have waited."""
        ...

    def present(self) -> int:
        """The clock's time, not raised to any event's: what is due at once is due now, though the clock was set back
        and the history is ahead of it."""
        ...

    def append(self, rows: Sequence[dict[str, Any]]) -> Sequence[tuple[int, int]]:
        """Insert rows of `events` of one entity in the order of their `seq`; their positions (xid, id)."""
        ...


class Driver(Protocol):
    """Runs functions in transactions of one database."""

    single_process: bool
    """Whether no other process can use the database while this one does."""

    settled: ColumnElement[bool] | None
    """Which events nobody can get in front of any more; None if that is all, as they are committed in their order."""

    def now(self, connection: Connection) -> int:
        """The time in microseconds, by the clock that also stamps events."""
        ...

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        """Run in a transaction; returns after COMMIT."""
        ...

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """As `write`, for a thread without an event loop."""
        ...

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run in a read-only snapshot."""
        ...

    async def look(self, fn: Callable[[Connection], T]) -> T:
        """As `read`, for a row or two that an index names: where that takes less time than waking a thread, it is
        done at once."""
        ...

    async def copy(self, to: Path) -> None:
        """Write all that is committed, as of one moment, to a file that is absent or empty; reading and writing go on.
        Raises `Rejected` with the command that does it, where the database has means of its own."""
        ...

    async def wait_for_work(self, timeout: float) -> None:
        """Return when a transaction that woke something has committed, or after `timeout` seconds."""
        ...

    async def close(self) -> None:
        """Finish what is queued, give back everything."""
        ...


class Bell:
    """Wakes the coroutines that wait for work, from any thread. A ring that nobody hears is kept for the next."""

    def __init__(self) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._rung = False

    def ring(self) -> None:
        """Wake everybody who waits."""
        self._rung = True
        for loop, event in tuple(self._waiting):
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(event.set)

    async def heard(self, timeout: float) -> None:
        """Return at the next ring or after `timeout` seconds."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiter)
        try:
            if not self._rung:
                async with asyncio.timeout(timeout):
                    await waiter[1].wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiter)
            self._rung = False


async def in_thread(threads: ThreadPoolExecutor, call: Callable[[F], T], fn: F) -> T:
    """Run `call(fn)` in one of the threads; raises `Unavailable` once they were shut down."""
    try:
        running = asyncio.get_running_loop().run_in_executor(threads, call, fn)
    except RuntimeError as error:
        raise Unavailable("The database is closed.") from error
    return await running


def is_refusal(error: DBAPIError) -> bool:
    """Whether the database cannot, now (disk, network, lock); anything else is an error in our program."""
    return isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError


def refusal(error: DBAPIError) -> Unavailable:
    """What a caller learns when the database refuses."""
    return Unavailable(
        f"The database refuses: {str(error.orig).strip()}",
        mend="Look at the database and its disk, then send the same request again.",
        details={"error": type(error.orig).__name__},
    )


Deciders = Mapping[str, Any]

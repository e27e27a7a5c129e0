"""The one database: the real SQLite code on a file in memory, which refuses, fails amid a transaction, or answers not.

Each process has its own way to it (`ProcessDriver`), on which messages take time and the process may die.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection

from twin.domain.errors import Unavailable
from twin.store.sqlite import InlineDriver
from twin.store.transact import Transaction
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.locks import Locks
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.virtual_loop import SimulatedClock

T = TypeVar("T")

_HEARD = 4
"""Of so many transactions one is heard for the order of its locks: to put statements into words costs much."""


class Witness(Protocol):
    """Looks at what a commit has made of the database."""

    def __call__(self, raw: sqlite3.Connection, *, rang: bool) -> None: ...


class _Ring:
    """In the place of the bell: remembers whether it rang."""

    def __init__(self) -> None:
        self.rang = False

    def ring(self) -> None:
        """Something became due."""
        self.rang = True


class Database(InlineDriver):
    """`witness` sees every commit before anybody else does; `rung` is called when one has woken something;
    `committed` is set by each."""

    single_process = False  # several processes use it, as they do PostgreSQL

    def __init__(self, clock: SimulatedClock, fate: Fate, journal: Journal) -> None:
        super().__init__(None, clock, upgrade=True)
        self.clock = clock
        self.witness: Witness | None = None
        self.rung: Callable[[], None] = lambda: None
        self.refuses = False
        self.commits = 0
        self.committed = asyncio.Event()
        self._fate = fate
        self._journal = journal
        self._locks = Locks(journal)
        self._ring = _Ring()
        self._bell = self._ring  # type: ignore[assignment]

    @property
    def raw(self) -> sqlite3.Connection:
        """For those who only look."""
        return self._raw

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """Run in a transaction, at once; or refuse, fail, or have the answer lost."""
        self.check()
        if self._fate.strikes("refusal", 0.004):
            self._fail_amid()
        unseen = self._fate.strikes("unseen", 0.01)
        self._ring.rang = False
        self._locks.begin()
        if self.commits % _HEARD == 0:
            self._raw.set_trace_callback(self._locks.heard)
        try:
            result = super().write_from_thread(fn)
        finally:
            self._raw.set_trace_callback(None)
            self._raw.set_progress_handler(None, 0)
            self._raw.set_authorizer(None)
        self.commits += 1
        self.committed.set()
        self._locks.end()
        if self.witness is not None:
            self.witness(self._raw, rang=self._ring.rang)
        if self._ring.rang:
            self.rung()
        if unseen:
            self._journal.note("unseen commit")
            raise Unavailable("The connection broke after COMMIT was sent.")
        return result

    def check(self) -> None:
        """Raise `Unavailable` while the database is down."""
        if self.refuses:
            raise Unavailable("The database is starting.")

    def _fail_amid(self) -> None:
        """The next transaction fails: in the middle, or at its COMMIT."""
        if self._fate.random.random() < 0.5:
            self._journal.note("database fails amid a transaction")
            self._raw.set_progress_handler(lambda: 1, self._fate.random.randrange(20, 2000))
        else:
            self._journal.note("database fails at COMMIT")
            self._raw.set_authorizer(_no_commit)


def _no_commit(action: int, first: str | None, *_: Any) -> int:
    commits = action == sqlite3.SQLITE_TRANSACTION and first == "COMMIT"
    return sqlite3.SQLITE_DENY if commits else sqlite3.SQLITE_OK


class ProcessDriver:
    """A process's way to the database. `passage(when)` is awaited before and after each write: there the message
    takes its time, and there a process freezes or dies."""

    single_process = False
    settled: ColumnElement[bool] | None = None

    def __init__(self, database: Database, passage: Callable[[str], Awaitable[None]]) -> None:
        self._database = database
        self._passage = passage

    def now(self, connection: Connection) -> int:
        """The database's time."""
        return self._database.now(connection)

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        """Run in a transaction."""
        await self._passage("before a commit")
        result = self._database.write_from_thread(fn)
        await self._passage("after a commit")
        return result

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """Run in a transaction."""
        return self._database.write_from_thread(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Read what was committed last."""
        await self._passage("a read")
        self._database.check()
        return await self._database.read(fn)

    look = read

    async def wait_for_work(self, timeout: float) -> None:
        """Nobody waits here: the scheduler wakes workers."""

    async def copy(self, to: Path) -> None:
        """Nobody asks for one."""
        await self._database.copy(to)

    async def close(self) -> None:
        """The database outlives the process."""

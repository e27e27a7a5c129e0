"""SQLite: one process, one writer thread, one COMMIT for all that is queued; or inline, for tests and simulation."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, create_engine, func, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from twin.domain.errors import Unavailable
from twin.ports.clock import Clock
from twin.store import migrations
from twin.store.moments import to_micros
from twin.store.prepared import Prepared
from twin.store.sqlite_copy import copy
from twin.store.sqlite_file import connect, lock_file
from twin.store.sqlite_writer import Writer
from twin.store.tables import events
from twin.store.transact import Bell, TaskPlace, Transaction, in_thread, is_refusal, refusal

T = TypeVar("T")

_READERS = 4
_last_id = Prepared(select(func.max(events.c.id).label("id")))
_append = Prepared(insert(events))


class SqliteTransaction:
    """An open transaction, stamped by the injected clock."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.woken: set[TaskPlace] = set()
        self._now: int | None = None
        self._last_id: int | None = None

    def now(self) -> int:
        """The clock's time at the first call."""
        if self._now is None:
            self._now = to_micros(self.clock.now())
        return self._now

    def not_before(self, moment: int) -> None:
        """Raise the time; the clock may have been set back."""
        self._now = max(self.now(), moment)

    def present(self) -> int:
        """The clock's time, also where it stands behind the history."""
        return min(self.now(), to_micros(self.clock.now()))

    def append(self, rows: Sequence[dict[str, Any]]) -> Sequence[tuple[int, int]]:
        """Insert with ids of our own counting: there is no other writer, and RETURNING would cost more."""
        first = (self._last_id if self._last_id is not None else _last_id.run(self.connection).scalar() or 0) + 1
        self._last_id = first + len(rows) - 1
        _append.run(self.connection, [{**row, "id": number} for number, row in enumerate(rows, first)])
        return [(0, number) for number in range(first, first + len(rows))]


class SqliteDriver:
    """Writes go through one thread, reads through read-only connections in a few others.

    Raises `Unavailable` if another process has the database open.
    """

    single_process = True
    settled: ColumnElement[bool] | None = None

    def __init__(self, path: Path, clock: Clock, *, upgrade: bool) -> None:
        self._path = path
        self._clock = clock
        self._bell = Bell()
        self._lock, engine = _open_file(path, upgrade=upgrade)
        self._writer = Writer(engine, lambda connection: SqliteTransaction(connection, clock), self._bell.ring)
        self._read_engine = _engine(lambda: connect(path, read_only=True))
        self._reading = threading.local()
        self._read_connections: list[Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, "twin-sqlite-read")

    def now(self, connection: Connection) -> int:
        """The injected clock's time."""
        return to_micros(self._clock.now())

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        """Queue for the writer; returns after the COMMIT that it shares with others."""
        return await self._writer.submit(fn)

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """As `write`, blocking."""
        return self._writer.submit_from_thread(fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run in a snapshot, in a thread."""
        return await in_thread(self._readers, self._read, fn)

    async def look(self, fn: Callable[[Connection], T]) -> T:
        """Run in a snapshot, at once: readers of a WAL wait for nobody."""
        if self._lock < 0:
            raise Unavailable("The database is closed.")
        return self._read(fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        connection, raw = self._of_this_thread()
        try:
            raw.execute("BEGIN")
            try:
                return fn(connection)
            finally:
                raw.rollback()
        except DBAPIError as error:
            self._forget(connection)
            if is_refusal(error):
                raise refusal(error) from error
            raise
        except sqlite3.Error as error:
            self._forget(connection)
            raise Unavailable(f"The database refuses: {error}") from error

    def _of_this_thread(self) -> tuple[Connection, sqlite3.Connection]:
        """The thread's own connection: to fetch one from a pool and give it back costs as much as a query."""
        if not hasattr(self._reading, "connection"):
            try:
                connection = self._read_engine.connect()
            except DBAPIError as error:
                raise refusal(error) from error
            self._reading.connection, self._reading.raw = connection, connection.connection.driver_connection
            self._read_connections.append(connection)
        return self._reading.connection, self._reading.raw

    def _forget(self, connection: Connection) -> None:
        """The thread's next read takes another connection."""
        del self._reading.connection
        self._read_connections.remove(connection)
        connection.invalidate()

    async def copy(self, to: Path) -> None:
        """In a thread, on a connection of its own."""
        await asyncio.to_thread(copy, self._path, to)

    async def wait_for_work(self, timeout: float) -> None:
        """Woken in-process."""
        await self._bell.heard(timeout)

    async def close(self) -> None:
        """Commit what is queued, close the files, let the next process in."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        for connection in self._read_connections:
            connection.close()
        self._read_engine.dispose()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class InlineDriver:
    """Everything in the caller's thread on one connection: for tests and simulation."""

    single_process = True
    settled: ColumnElement[bool] | None = None

    def __init__(self, path: Path | None, clock: Clock, *, upgrade: bool) -> None:
        self._clock = clock
        self._bell = Bell()
        self._lock, engine = (-1, _engine(_connect_memory)) if path is None else _open_file(path, upgrade=upgrade)
        self._connection = engine.connect()
        self._raw: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]

    def now(self, connection: Connection) -> int:
        """The injected clock's time."""
        return to_micros(self._clock.now())

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        """Run at once."""
        return self.write_from_thread(fn)

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """Run at once."""
        tx = SqliteTransaction(self._connection, self._clock)
        try:
            self._raw.execute("BEGIN IMMEDIATE")
            result = fn(tx)
            self._raw.execute("COMMIT")
        except DBAPIError as error:
            self._raw.rollback()
            if is_refusal(error):
                raise refusal(error) from error
            raise
        except sqlite3.Error as error:
            self._raw.rollback()
            raise Unavailable(f"The database refuses: {error}") from error
        except BaseException:
            self._raw.rollback()
            raise
        if tx.woken:
            self._bell.ring()
        return result

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run at once: no transaction is ever open between two calls."""
        return fn(self._connection)

    look = read

    async def copy(self, to: Path) -> None:
        """Run at once, also from memory."""
        self._raw.execute("VACUUM INTO ?", (str(to),))

    async def wait_for_work(self, timeout: float) -> None:
        """Woken in-process."""
        await self._bell.heard(timeout)

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _open_file(path: Path, *, upgrade: bool) -> tuple[int, Engine]:
    """Lock the file and bring it to its schema; the lock's descriptor, and an engine of writing connections."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lock_file(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error.strerror}.", mend="Choose a path we may write.") from error
    engine = _engine(lambda: connect(path))
    try:
        # Readable by its owner alone; SQLite gives its side files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        prepare(engine, upgrade=upgrade)
    except OSError as error:
        os.close(lock)
        raise Unavailable(f"{path} cannot be opened: {error.strerror}.", mend="Choose a path we may write.") from error
    except BaseException:
        os.close(lock)
        raise
    return lock, engine


def prepare(engine: Engine, *, upgrade: bool) -> None:
    """Upgrade the schema, or refuse one that is not the newest."""
    try:
        with engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            if upgrade:
                migrations.upgrade(connection)
            else:
                migrations.check(connection)
    except DBAPIError as error:
        raise refusal(error) from error


_schema_script: list[str] = []


def _connect_memory() -> sqlite3.Connection:
    """A new database with the newest schema, migrated once per process and then copied: worlds are many in tests."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if not _schema_script:
        with _engine(lambda: sqlite3.connect(":memory:", isolation_level=None)).connect() as template:
            with template.begin():
                migrations.upgrade(template)
            raw = template.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            _schema_script.append("\n".join(raw.iterdump()))  # tables, triggers, and the version
    connection.executescript(_schema_script[0])
    return connection


def _engine(connect: Callable[[], sqlite3.Connection]) -> Engine:
    return create_engine(
        "sqlite://",
        creator=connect,
        poolclass=NullPool,
        json_serializer=_to_json,
        json_deserializer=msgspec.json.decode,
    )


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

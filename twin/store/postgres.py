"""PostgreSQL: transactions in threads over a pool that shrinks when idle, retried when two met."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg_pool import ConnectionPool
from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, func, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from twin.domain.errors import Conflict, Rejected, Unavailable
from twin.ports.clock import Clock
from twin.store import migrations, postgres_restored
from twin.store.postgres_listener import CHANNEL, Listener
from twin.store.tables import Xid8, events
from twin.store.transact import Bell, RunAgain, TaskPlace, Transaction, in_thread, is_refusal, refusal

T = TypeVar("T")

_ATTEMPTS = 6
_MET = ("40001", "40P01")  # serialization_failure, deadlock_detected
_LOCK_TIMEOUT = "30s"
_IDLE_SECONDS = 60.0
_CONNECT_SECONDS = 10

# clock_timestamp() and not now(), which is the transaction's begin: before it waited for the lock.
_clock = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
_notify = text(f"SELECT pg_notify('{CHANNEL}', '')")
# Sorted, so that the ids rise with seq within an entity.
_append = insert(events).returning(events.c.xid, events.c.id, sort_by_parameter_order=True)


class PostgresTransaction:
    """An open transaction, stamped by the database's clock."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.woken: set[TaskPlace] = set()
        self._now: int | None = None
        self._present = 0

    def now(self) -> int:
        """The database's time at the first call, or after the last lock."""
        if self._now is None:
            self._now = self._present = clock_time(self.connection)
        return self._now

    def not_before(self, moment: int) -> None:
        """Read the clock again, for the lock may have waited; an event on another server's clock may be later."""
        self._present = clock_time(self.connection)
        self._now = max(self._present, self._now or 0, moment)

    def present(self) -> int:
        """The database's time when it was last read, also where it stands behind the history."""
        return min(self.now(), self._present)

    def append(self, rows: Sequence[dict[str, Any]]) -> Sequence[tuple[int, int]]:
        """Insert; the database numbers the rows and stamps them with its transaction."""
        return [(row.xid, row.id) for row in self.connection.execute(_append, list(rows))]


class PostgresDriver:
    """One thread and one connection per transaction in flight.

    Raises `Unavailable` if the server cannot be reached or has another schema.
    """

    single_process = False
    # A transaction older than the oldest running one is over: nobody can still commit a row in front of its rows.
    settled: ColumnElement[bool] | None = events.c.xid < func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8())

    def __init__(self, url: URL, clock: Clock, *, upgrade: bool, connections: int) -> None:
        self._url = url
        self._clock = clock
        self._bell = Bell()
        conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        prepare(conninfo, upgrade=upgrade)
        # Two more than threads, so that a heartbeat never waits for a transaction.
        self._pool = ConnectionPool(
            conninfo,
            min_size=1,
            max_size=connections + 2,
            max_idle=_IDLE_SECONDS,
            timeout=_CONNECT_SECONDS,
            kwargs={"connect_timeout": _CONNECT_SECONDS},
            configure=_configure,
            close_returns=True,
            open=False,
        )
        self._pool.open()
        self._engine = _engine(self._pool.getconn)
        event.listen(self._engine.pool, "close", self._give_back)
        self._threads = ThreadPoolExecutor(connections, "twin-postgres")
        self._listener = Listener(conninfo, self._bell.ring)

    def _give_back(self, raw: psycopg.Connection[Any], record: object) -> None:
        """A connection that was cut does not go back by its `close`: the pool would count it as used for ever."""
        if raw.closed:
            self._pool.putconn(raw)

    def now(self, connection: Connection) -> int:
        """The database's time."""
        return clock_time(connection)

    async def write(self, fn: Callable[[Transaction], T]) -> T:
        """Run in a transaction, in a thread; again if it met another."""
        return await in_thread(self._threads, self.write_from_thread, fn)

    def write_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """As `write`, in the caller's thread."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._write_once(fn)
            except (_Lost, RunAgain) as again:
                if attempt == _ATTEMPTS:
                    raise _unavailable(again.__cause__) from again.__cause__
                if isinstance(again, _Lost):
                    self._pool.check()  # the server may have restarted: drop what it has cut
                else:
                    time.sleep(self._clock.jitter() * 0.01 * attempt)
        raise AssertionError("unreachable")

    def _write_once(self, fn: Callable[[Transaction], T]) -> T:
        committing = False
        try:
            with self._engine.connect() as connection:
                tx = PostgresTransaction(connection, self._clock)
                result = fn(tx)
                if tx.woken:
                    connection.execute(_notify)
                committing = True
                connection.commit()
                return result
        except IntegrityError as error:
            if "uq_entities_live_name" in str(error.orig):
                raise Conflict("Another one has taken that name meanwhile.", field="name") from error
            raise
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _MET:
                raise RunAgain from error
            if error.connection_invalidated and not committing:
                raise _Lost from error  # nothing was committed; after COMMIT was sent nobody knows
            if is_refusal(error):
                raise refusal(error) from error
            raise

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run in a thread."""
        return await in_thread(self._threads, self._read, fn)

    async def look(self, fn: Callable[[Connection], T]) -> T:
        """As `read`: an answer of the server takes its time."""
        return await self.read(fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._engine.connect() as connection:
                    return fn(connection)
            except DBAPIError as error:
                if error.connection_invalidated and attempt < _ATTEMPTS:
                    self._pool.check()
                elif is_refusal(error):
                    raise refusal(error) from error
                else:
                    raise
        raise AssertionError("unreachable")

    async def copy(self, to: Path) -> None:
        """Not ours to do."""
        raise refused_copy(self._url)

    async def wait_for_work(self, timeout: float) -> None:
        """Woken by NOTIFY; the listener starts with the first who waits."""
        self._listener.start()
        await self._bell.heard(timeout)

    async def close(self) -> None:
        """Finish what runs, close all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._listener.close()
        self._threads.shutdown()
        self._engine.dispose()
        self._pool.close()


class _Lost(Exception):
    """The connection broke before COMMIT."""


def refused_copy(url: URL) -> Rejected:
    """Says how a database is copied; its password stays out of the command, which asks for it."""
    name = url.set(drivername="postgresql")._replace(password=None).render_as_string()
    return Rejected(
        "The twin's state is in PostgreSQL, whose own tools make consistent copies while it is used.",
        mend=f"pg_dump --format=custom --file=twin.dump --dbname={shlex.quote(name)}",
        code="backup_by_database",
    )


def clock_time(connection: Connection) -> int:
    """The database's time in microseconds."""
    now: int = connection.execute(_clock).scalar_one()
    return now


def prepare(conninfo: str, *, upgrade: bool) -> None:
    """Upgrade the schema, or refuse one that is not the newest."""
    engine = _engine(lambda: psycopg.connect(conninfo, connect_timeout=_CONNECT_SECONDS))
    try:
        with engine.begin() as connection:
            if upgrade:
                migrations.upgrade(connection)
                postgres_restored.number_anew(connection)
            else:
                migrations.check(connection)
                postgres_restored.check(connection)
    except DBAPIError as error:
        raise refusal(error) from error
    finally:
        engine.dispose()


def _engine(connect: Callable[[], Any]) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=NullPool,  # psycopg's own pool shrinks when idle, SQLAlchemy's does not
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )


def _configure(connection: psycopg.Connection[Any]) -> None:
    """What we rely on, whatever the server's defaults are."""
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.commit()


def _unavailable(cause: BaseException | None) -> Unavailable:
    return Unavailable(
        f"The database could not finish the transaction in {_ATTEMPTS} attempts{f': {cause}' if cause else ''}.",
        mend="Send the same request again.",
    )

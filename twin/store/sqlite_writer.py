"""The one thread that writes to a SQLite file: a savepoint per request, one COMMIT for all that is queued.

A caller is told of success only after the COMMIT that holds its work. A request that raises is undone alone; if the
connection leaves its transaction (disk full, I/O error), nothing of the batch is in the file: all fail, and the
connection is replaced.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from twin.domain.errors import Unavailable
from twin.store.transact import Transaction, is_refusal, refusal

T = TypeVar("T")

_LARGEST_BATCH = 256


class Request:
    """A function to run, and what came of it. `loop` is None for a thread that waits for `answer`."""

    __slots__ = ("answer", "error", "fn", "loop", "result")

    def __init__(
        self,
        fn: Callable[[Transaction], Any],
        loop: asyncio.AbstractEventLoop | None,
        answer: asyncio.Future[Any] | Future[Any],
    ) -> None:
        self.fn = fn
        self.loop = loop
        self.answer = answer
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Tell the caller, unless it has gone."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.error)


class _Refused(Exception):
    """The connection cannot go on."""

    def __init__(self, cause: Exception | None) -> None:
        super().__init__()
        self.cause = cause


class Begin(Protocol):
    """Makes the transaction of one request."""

    def __call__(self, connection: Connection, /) -> Transaction: ...


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(self, engine: Engine, begin: Begin, ring: Callable[[], None]) -> None:
        self._engine = engine
        self._begin = begin
        self._ring = ring
        self._connection: Connection | None = None
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="twin-sqlite-write", daemon=True)
        self._thread.start()

    async def submit(self, fn: Callable[[Transaction], T]) -> T:
        """Queue; returns after COMMIT."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._put(Request(fn, loop, answer))
        return await answer

    def submit_from_thread(self, fn: Callable[[Transaction], T]) -> T:
        """Queue and block until after COMMIT."""
        answer: Future[T] = Future()
        self._put(Request(fn, None, answer))
        return answer.result()

    def _put(self, request: Request) -> None:
        with self._gate:
            if self._closed:
                raise Unavailable("The database is closed.")
            self._queue.put(request)

    def close(self) -> None:
        """Commit what is queued, then close the connection."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch: list[Request] = []
            request = self._queue.get()
            try:
                while request is not None:
                    batch.append(request)
                    if len(batch) == _LARGEST_BATCH:
                        break
                    request = self._queue.get_nowait()
                else:
                    open_ = False
            except Empty:
                pass
            if batch:
                self._serve(batch)
        self._disconnect()

    def _serve(self, batch: Sequence[Request]) -> None:
        woken = False
        try:
            woken = self._commit(batch)
        except _Refused as refused:
            self._disconnect()
            for request in batch:
                # Each its own exception: they are raised in different tasks.
                request.error = _unavailable(refused.cause)
        _deliver(batch)
        if woken:
            self._ring()

    def _commit(self, batch: Sequence[Request]) -> bool:
        woken = False
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            raw = _raw(self._connection)
            raw.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:  # what a savepoint would undo, the end of the transaction undoes
                woken = self._perform(raw, batch[0])
                raw.execute("COMMIT" if batch[0].error is None else "ROLLBACK")
                return woken
            for request in batch:
                raw.execute("SAVEPOINT request")
                woken |= self._perform(raw, request)
                if request.error is not None:
                    raw.execute("ROLLBACK TO request")
                raw.execute("RELEASE request")
            raw.execute("COMMIT")
        except _Refused:
            raise
        except Exception as error:  # whatever it is: the thread must live, and every caller must hear of it
            raise _Refused(error) from error
        return woken

    def _perform(self, raw: sqlite3.Connection, request: Request) -> bool:
        """Run it; whether it made something due. Its error is kept for its caller."""
        assert self._connection is not None
        tx = self._begin(self._connection)
        try:
            request.result = request.fn(tx)
        except BaseException as error:
            request.error = _for_caller(error)
        if not raw.in_transaction:
            raise _Refused(request.error if isinstance(request.error, Exception) else None)
        return request.error is None and bool(tx.woken)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except (sqlite3.Error, DBAPIError):
                connection.invalidate()


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _for_caller(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and is_refusal(error):
        return refusal(error)
    if isinstance(error, StopIteration):  # a future cannot carry it
        return RuntimeError(f"the function raised {error!r}")
    return error


def _unavailable(cause: Exception | None) -> Unavailable:
    error = Unavailable(
        f"The database refuses: {cause or 'the transaction was lost'}. Nothing was written.",
        mend="Look at its disk, then send the same request again.",
    )
    error.__cause__ = cause
    return error


def _deliver(batch: Sequence[Request]) -> None:
    """One wake-up per event loop, however many callers wait on it."""
    loops: dict[asyncio.AbstractEventLoop | None, list[Request]] = {}
    for request in batch:
        loops.setdefault(request.loop, []).append(request)
    for loop, requests in loops.items():
        if loop is None:
            _tell(requests)
            continue
        try:
            loop.call_soon_threadsafe(_tell, requests)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _tell(requests: Sequence[Request]) -> None:
    for request in requests:
        request.deliver()

"""SQLite: the suite, and what only one writer thread on one file can promise."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from twin.domain.errors import Invalid, Unavailable
from twin.ports.store import EventFilter, Queue, Store, Tx
from twin.store import SqlStore, open_store
from twin.store.sqlite_writer import _raw  # the tests look at the statements it sends
from twin.testing.conformance.store import StoreConformance
from twin.testing.conformance.store_setting import BY_ANNA, DECIDERS, Database, StoppedClock, log, send
from twin.testing.counter import KIND, Add, Open, Plan, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "twin.db"


@pytest.fixture
async def store(path: Path, clock: StoppedClock) -> AsyncIterator[SqlStore]:
    opened = open_store(f"sqlite:///{path}", deciders=DECIDERS, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def database(path: Path) -> Database:
    def run(statement: str) -> list[Any]:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    return run


@pytest.fixture
def intruder(database: Database) -> Database:
    def run(statement: str) -> list[Any]:
        database("DROP TRIGGER events_no_update")
        database("DROP TRIGGER events_no_delete")
        return database(statement)

    return run


class TestSqlite(StoreConformance):
    """The default."""


def as_ports(store: SqlStore) -> tuple[Store, Queue]:
    """For the type checker: it is both."""
    return store, store


def raw(tx: Tx) -> sqlite3.Connection:
    return _raw(tx._connection)  # type: ignore[attr-defined]


class Batch:
    """Holds the writer, so that all that is sent meanwhile becomes one batch."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._go = threading.Event()
        self._held = threading.Event()

    async def __aenter__(self) -> Batch:
        def hold(tx: Tx) -> None:
            self._held.set()
            self._go.wait(20)

        self._holding = asyncio.create_task(self._store.transact(hold))
        await asyncio.to_thread(self._held.wait, 20)
        return self

    async def send(self, fn: Callable[[Tx], Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._store.transact(fn))
        await asyncio.sleep(0)  # lets the task reach the queue
        return task

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        await self._holding


def opens(number: int) -> Callable[[Tx], Any]:
    return lambda tx: tx.transition(KIND, f"c{number}", Open("shop", f"n{number}"), BY_ANNA)


async def test_what_is_queued_shares_one_commit_and_only_the_one_that_raises_is_undone(store: SqlStore) -> None:
    statements: list[str] = []

    def spy(tx: Tx) -> None:
        raw(tx).set_trace_callback(statements.append)

    def fail(tx: Tx) -> None:
        opens(2)(tx)
        raise ValueError("no")

    await store.transact(spy)
    statements.clear()
    async with Batch(store) as batch:
        sent = [await batch.send(fn) for fn in (opens(1), fail, opens(3))]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, True, False]
    assert [event.entity for event in await log(store)] == ["c1", "c3"]
    assert statements.count("COMMIT") == 2, "one for the holder, one for the three"


async def test_nobody_is_told_of_success_before_the_commit(store: SqlStore, database: Database) -> None:
    running, go = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        running.set()
        go.wait(20)

    async with Batch(store) as batch:
        first = await batch.send(opens(1))
        last = await batch.send(slow)
    await asyncio.to_thread(running.wait, 20)
    assert not first.done(), "its function has returned, its batch is not committed"
    assert database("SELECT id FROM entities") == []
    go.set()
    await asyncio.gather(first, last)
    assert database("SELECT id FROM entities") == [("c1",)]


async def test_a_lost_transaction_fails_the_whole_batch_and_the_next_works(store: SqlStore) -> None:
    async with Batch(store) as batch:
        sent = [await batch.send(fn) for fn in (opens(1), lambda tx: raw(tx).execute("ROLLBACK"), opens(2))]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert await log(store) == []
    await send(store, "c3", Open("shop", "n3"))
    assert [event.entity for event in await log(store)] == ["c3"]


async def test_a_full_disk_is_unavailable_and_leaves_a_whole_database(store: SqlStore) -> None:
    await send(store, "c1", Open("shop", "one"))
    await store.transact(lambda tx: raw(tx).execute("PRAGMA max_page_count = 1").fetchall())
    big = "x" * 500_000
    with pytest.raises(Unavailable):
        await send(store, "c2", Open("shop", "two", labels={"big": big}))
    await store.transact(lambda tx: raw(tx).execute("PRAGMA max_page_count = 1000000").fetchall())
    await send(store, "c2", Open("shop", "two", labels={"big": big}))
    assert (await store.verify()).findings == ()


async def test_what_is_queued_at_closing_is_committed(path: Path, clock: StoppedClock) -> None:
    store = open_store(f"sqlite:///{path}", deciders=DECIDERS, clock=clock)
    async with Batch(store) as batch:
        sent = [await batch.send(opens(number)) for number in range(3)]
        closing = asyncio.create_task(store.close())
    await asyncio.gather(closing, *sent)
    with pytest.raises(Unavailable):
        await store.transact(lambda tx: None)
    with pytest.raises(Unavailable):
        await store.blocks()
    await store.close()
    again = open_store(f"sqlite:///{path}", deciders=DECIDERS, clock=clock)
    assert len(await log(again)) == 3
    await again.close()


async def test_a_second_process_is_refused_and_told_who_has_it(store: SqlStore, path: Path) -> None:
    program = (
        "import sys\n"
        "from twin.store import open_store\n"
        "from twin.domain.errors import Unavailable\n"
        "from twin.testing.conformance.store_setting import DECIDERS, StoppedClock\n"
        "try:\n"
        "    open_store(sys.argv[1], deciders=DECIDERS, clock=StoppedClock())\n"
        "except Unavailable as refused:\n"
        "    print(refused)\n"
    )
    argv = [sys.executable, "-c", program, f"sqlite:///{path}"]
    run = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    assert f"in use by process {os.getpid()}" in run.stdout, run.stderr
    with pytest.raises(Unavailable, match="in use"):
        open_store(argv[-1], deciders=DECIDERS, clock=StoppedClock())


def test_a_path_that_we_may_not_write_is_unavailable(tmp_path: Path, clock: StoppedClock) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "twin.db", tmp_path):
        with pytest.raises(Unavailable, match="cannot be opened"):
            open_store(f"sqlite:///{path}", deciders=DECIDERS, clock=clock)


async def test_files_are_private(store: SqlStore, path: Path) -> None:
    await send(store, "c1", Open("shop", "one"))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("twin.db", "twin.db-wal", "twin.db-shm", "twin.db.lock"), "0o600")


async def test_a_registered_worker_is_the_only_one_alive(store: SqlStore) -> None:
    await store.register("before the crash", "host", 1)
    await store.register("after it", "host", 2)
    assert [worker for worker, _ in await store.dead(3600)] == ["before the crash"]


async def test_time_is_the_clocks(store: SqlStore, clock: StoppedClock) -> None:
    (opened,) = await send(store, "c1", Open("shop", "one"))
    assert opened.events[0].at == clock.time
    clock.time = clock.time.replace(hour=11)
    (added,) = await send(store, "c1", Add(1))
    assert added.events[0].at == opened.events[0].at, "the clock was set back, the entity's time was not"


async def test_what_is_due_at_once_does_not_wait_for_a_clock_that_was_set_back(
    store: SqlStore, clock: StoppedClock
) -> None:
    await send(store, "c1", Open("shop", "one"))
    clock.time = clock.time.replace(hour=11)
    await send(store, "c1", Plan((step("db"),)))
    assert len(await store.claim("w1", {"local": 1}, 1)) == 1


async def test_inline_runs_in_the_callers_thread(clock: StoppedClock) -> None:
    store = open_store("sqlite://", deciders=DECIDERS, clock=clock, inline=True)
    await send(store, "c1", Open("shop", "one"), Add(1))
    assert await store.transact(lambda tx: threading.current_thread()) is threading.current_thread()
    with pytest.raises(ValueError, match="no"):
        await store.transact(lambda tx: (opens(2)(tx), int("no")))
    assert len((await store.events(EventFilter())).items) == 2
    assert (await store.verify()).findings == ()
    await store.close()
    other = open_store("sqlite://", deciders=DECIDERS, clock=clock, inline=True)
    assert await log(other) == [], "each is a database of its own"
    await other.close()


async def test_a_file_may_be_used_inline(path: Path, clock: StoppedClock) -> None:
    for total in (1, 2):
        store = open_store(f"sqlite:///{path}", deciders=DECIDERS, clock=clock, inline=True)
        await send(store, "c1", *([Open("shop", "one")] if total == 1 else []), Add(1))
        row = await store.entity(KIND, "c1")
        assert row is not None
        assert row.state.total == total
        await store.close()


@pytest.mark.parametrize("url", ["sqlite://", "mysql://host/db"])
def test_a_url_of_another_form_is_invalid(url: str) -> None:
    with pytest.raises(Invalid):
        open_store(url, deciders={}, clock=StoppedClock())


async def test_a_cursor_of_after_the_copy_is_refused_by_what_was_restored_from_it(
    store: SqlStore, tmp_path: Path, clock: StoppedClock
) -> None:
    (early,) = await send(store, "c1", Open("shop", "one"))
    copy = tmp_path / "copy.db"
    await store.copy(copy)
    (late,) = await send(store, "c1", Add(1))
    restored = open_store(f"sqlite:///{copy}", deciders=DECIDERS, clock=clock)
    (other,) = await send(restored, "c2", Open("shop", "two"))  # stands where the late one stood
    assert (await restored.events(EventFilter(), after=early.events[0].cursor)).items == other.events
    for wanted in (EventFilter(), EventFilter(entity="c1")):
        with pytest.raises(Invalid, match="no event here") as refused:
            await restored.events(wanted, after=late.events[0].cursor)
        assert refused.value.field == "after"
    await restored.close()

"""PostgreSQL: the suite, and what only several connections can show."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from twin.domain.errors import Rejected, Unavailable
from twin.ports.store import EventFilter, IdempotentReply, Tx
from twin.store import SqlStore, open_store
from twin.testing.conformance.store import StoreConformance
from twin.testing.conformance.store_setting import BY_ANNA, DECIDERS, FUTURE, PAST, Database, StoppedClock, log, send
from twin.testing.counter import KIND, Add, Open, Plan, step


@pytest.fixture
async def store(postgres_url: str, clock: StoppedClock) -> AsyncIterator[SqlStore]:
    opened = open_store(postgres_url, deciders=DECIDERS, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def database(postgres_url: str) -> Database:
    def run(statement: str) -> list[Any]:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def intruder(database: Database) -> Database:
    def run(statement: str) -> list[Any]:
        database("ALTER TABLE events DISABLE TRIGGER USER")
        return database(statement)

    return run


class TestPostgres(StoreConformance):
    """For several processes."""


class Slow:
    """A transaction that has done its work and stands before its COMMIT until it may go on."""

    def __init__(self, store: SqlStore, entity: str, *inputs: Any) -> None:
        self._inputs = inputs
        self._entity = entity
        self._done, self._go = threading.Event(), threading.Event()
        self.task = asyncio.create_task(store.transact(self._run))

    def _run(self, tx: Tx) -> None:
        for given in self._inputs:
            tx.transition(KIND, self._entity, given, BY_ANNA)
        self._done.set()
        self._go.wait(20)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._done.wait, 20)

    async def commit(self) -> None:
        self._go.set()
        await self.task


async def test_pages_never_skip_one_that_commits_late(store: SqlStore) -> None:
    await send(store, "c0", Open("shop", "n0"))
    slow = Slow(store, "c1", Open("shop", "n1"))
    await slow.reached()
    await send(store, "c2", Open("shop", "n2"))
    page = await store.events(EventFilter())
    assert [event.entity for event in page.items] == ["c0"], "c2 waits for c1, which stands before it"
    assert [event.entity for event in await log(store, EventFilter(entity="c2"))] == ["c2"], "its own stream need not"
    await slow.commit()
    rest = await store.events(EventFilter(), after=page.next)
    assert [event.entity for event in rest.items] == ["c1", "c2"]


async def test_pages_of_a_time_never_skip_one_that_commits_late(store: SqlStore) -> None:
    await send(store, "c0", Open("shop", "n0"))
    slow = Slow(store, "c1", Open("shop", "n1"))
    await slow.reached()
    await send(store, "c2", Open("shop", "n2"))
    for wanted in (EventFilter(since=PAST, until=FUTURE), EventFilter(since=PAST), EventFilter(until=FUTURE)):
        assert [event.entity for event in await log(store, wanted)] == ["c0"]
    page = await store.events(EventFilter(since=PAST))
    await slow.commit()
    rest = await store.events(EventFilter(since=PAST), after=page.next)
    assert [event.entity for event in rest.items] == ["c1", "c2"]


async def test_a_second_transition_waits_for_the_first_and_its_time_is_after_it(store: SqlStore) -> None:
    await send(store, "c1", Open("shop", "one"))
    slow = Slow(store, "c1", Add(1))
    await slow.reached()
    second = asyncio.create_task(send(store, "c1", Add(1)))
    await send(store, "c2", Open("shop", "two"))
    assert not second.done()
    await slow.commit()
    (added,) = await second
    assert added.before.total == 1
    times = [event.at for event in await log(store, EventFilter(entity="c1"))]
    assert times == sorted(times)


@pytest.mark.parametrize("there", [True, False])
async def test_what_others_rely_on_stays_until_they_commit_and_is_not_theirs_alone(
    store: SqlStore, there: bool
) -> None:
    """Also that it is not there: who relies on that must not be passed by its creation."""
    if there:
        await send(store, "c1", Open("shop", "one"))
    looked, go = threading.Event(), threading.Event()
    seen: list[Any] = []

    def relies(tx: Tx) -> None:
        seen.append(tx.shared(KIND, "c1"))
        looked.set()
        go.wait(20)
        seen.append(tx.shared(KIND, "c1"))

    relying = asyncio.create_task(store.transact(relies))
    assert await asyncio.to_thread(looked.wait, 20)
    other = await store.transact(lambda tx: tx.shared(KIND, "c1"))
    changing = asyncio.create_task(send(store, "c1", Add(1) if there else Open("shop", "one")))
    await asyncio.wait({changing}, timeout=0.3)
    assert not changing.done()
    go.set()
    await relying
    await changing
    assert seen == [other, other]
    assert (await store.transact(lambda tx: tx.shared(KIND, "c1"))) == (await changing)[0].after


async def test_transactions_that_lock_each_others_entities_both_succeed(store: SqlStore) -> None:
    for name in ("c1", "c2"):
        await send(store, name, Open("shop", name))
    together = threading.Barrier(2)

    def crossed(first: str, second: str) -> Any:
        met: list[bool] = []

        def fn(tx: Tx) -> None:
            tx.transition(KIND, first, Add(1), BY_ANNA)
            if not met:  # only the first attempts meet
                met.append(True)
                together.wait(20)
            tx.transition(KIND, second, Add(1), BY_ANNA)

        return fn

    await asyncio.gather(store.transact(crossed("c1", "c2")), store.transact(crossed("c2", "c1")))
    for name in ("c1", "c2"):
        row = await store.entity(KIND, name)
        assert row is not None
        assert row.state.total == 2


async def test_a_claim_does_not_wait_for_a_locked_task(store: SqlStore) -> None:
    await send(store, "c1", Open("shop", "n1"), Plan((step("db"),)))
    await send(store, "c2", Open("shop", "n2"), Plan((step("db"),)))
    slow = Slow(store, "c1", Plan(()))
    await slow.reached()
    assert [task.entity for task in await store.claim("w1", {"local": 9}, 9)] == ["c2"]
    await slow.commit()


async def test_progress_does_not_wait_for_a_transition(store: SqlStore) -> None:
    await send(store, "c1", Open("shop", "n1"), Plan((step("db"), step("app"))))
    (task,) = [each for each in await store.claim("w1", {"local": 9}, 9) if each.key == "db"]
    slow = Slow(store, "c1", Plan((step("db"),)))
    await slow.reached()
    async with asyncio.timeout(10):
        assert await store.tell(task, "half"), "the entity is locked, its tasks are not"
    await slow.commit()
    assert await store.progress("c1") == {"db": "half"}


async def test_an_idempotency_key_is_taken_by_one_at_a_time(store: SqlStore) -> None:
    looked, go = threading.Event(), threading.Event()
    reply = IdempotentReply(digest="d", operation_id="op_1", entity="c1", expires_at=datetime(2999, 1, 1, tzinfo=UTC))

    def first(tx: Tx) -> None:
        assert tx.idempotent("ann", "k") is None
        looked.set()
        go.wait(20)
        tx.remember("ann", "k", reply)

    taking = asyncio.create_task(store.transact(first))
    assert await asyncio.to_thread(looked.wait, 20)
    again = asyncio.create_task(store.transact(lambda tx: tx.idempotent("ann", "k")))
    assert await store.transact(lambda tx: tx.idempotent("ann", "other")) is None, "another key need not wait"
    await asyncio.wait({again}, timeout=0.3)
    assert not again.done(), "the same request twice at once would be done twice"
    go.set()
    await taking
    assert await again == reply


async def test_events_cannot_be_truncated(store: SqlStore, database: Database) -> None:
    await send(store, "c1", Open("shop", "one"))
    with pytest.raises(psycopg.Error, match="append-only"):
        database("TRUNCATE events")


async def test_cut_connections_are_replaced_without_the_caller_noticing(store: SqlStore, database: Database) -> None:
    await asyncio.gather(*(send(store, f"c{n}", Open("shop", f"n{n}")) for n in range(4)))
    database(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await send(store, "c0", Add(1))
    assert len(await log(store)) == 5


async def test_copies_are_left_to_the_servers_own_tools(store: SqlStore, postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="own tools") as refused:
        await store.copy(tmp_path / "copy")
    assert refused.value.mend is not None
    assert refused.value.mend.startswith("pg_dump --format=custom --file=twin.dump --dbname=postgresql://")
    assert str(make_url(postgres_url).password) not in refused.value.mend


async def test_a_dump_restored_into_another_server_is_fitted_to_its_transactions(
    store: SqlStore, intruder: Database, postgres_url: str
) -> None:
    await send(store, "c1", Open("shop", "one"), Add(1))
    intruder("UPDATE events SET xid = (xid::text::bigint + 1000000000)::text::xid8")
    intruder("ALTER TABLE events ENABLE TRIGGER USER")
    assert await log(store) == [], "the events of a server that had counted further are not shown"
    with pytest.raises(Unavailable) as refused:
        open_store(postgres_url, deciders=DECIDERS, clock=StoppedClock())
    assert (refused.value.code, refused.value.mend) == ("restored_database", "twin db upgrade")
    fitted = open_store(postgres_url, deciders=DECIDERS, clock=StoppedClock(), upgrade=True)
    await send(fitted, "c1", Add(1))
    assert [event.seq for event in await log(fitted)] == [1, 2, 3]
    assert (await fitted.verify()).findings == ()
    with pytest.raises(psycopg.Error, match="append-only"):
        intruder("ALTER TABLE events ENABLE TRIGGER USER; UPDATE events SET xid = '1'")
    await fitted.close()


async def test_who_is_dead_is_found_dead_though_the_clock_was_set_back(store: SqlStore, database: Database) -> None:
    await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
    for worker in ("w1", "w2"):
        await store.register(worker, "host", 1)
    (task,) = await store.claim("w1", {"local": 1}, 1)
    database("UPDATE workers SET beat_at = beat_at + 3600000000")
    store.heartbeat("w2")
    assert await store.dead(30) == [], "whose heart beat in the future has beaten now"
    database("UPDATE workers SET beat_at = beat_at - 60000000")
    store.heartbeat("w2")
    assert [(worker, list(held)) for worker, held in await store.dead(30)] == [("w1", [task])]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable) as refused:
        open_store("postgresql://twin:s3cret@127.0.0.1:1/twin", deciders=DECIDERS, clock=StoppedClock())
    assert "s3cret" not in str(refused.value)


async def test_a_notification_of_another_process_wakes_us(store: SqlStore, postgres_url: str) -> None:
    other = open_store(postgres_url, deciders=DECIDERS, clock=StoppedClock())
    await send(other, "c1", Open("shop", "one"))
    await store.wait_for_work(20)  # the listener rings once when it begins to listen
    waiting = asyncio.create_task(store.wait_for_work(60))
    await send(other, "c1", Plan((step("db"),)))
    await asyncio.wait_for(waiting, 10)
    await other.close()


async def test_connections_cut_one_after_the_other_use_up_no_pool(store: SqlStore) -> None:
    for cut in range(1, 25):
        tries: list[int] = []

        def die_once(tx: Tx, tries: list[int] = tries) -> int:
            tries.append(1)
            if len(tries) == 1:
                tx._connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")  # type: ignore[attr-defined]
            return len(tx.targets())

        assert await asyncio.wait_for(store.transact(die_once), 5) == 0, f"after {cut} cuts"

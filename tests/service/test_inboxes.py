"""Taking deliveries together: a burst costs few commits, and what befalls one befalls no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from api.clock import SystemClock
from twin.domain.deciders import DECIDERS
from twin.domain.errors import Unavailable
from twin.domain.inbox import INBOX, inbox_id
from twin.ports.store import Store, Tx
from twin.service.changes import LocalChanges
from twin.service.inboxes import Delivered, Inboxes
from twin.store import SqlStore, open_store
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

FORGE = "gitea/main"
T = TypeVar("T")


def delivered(name: str, event: str = "push") -> Delivered:
    return Delivered(target=FORGE, id=name, event=event, headers={}, body=b"{}")


class Counting:
    """A store that counts its transactions and what they ask, holds them up, and may refuse."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.transactions = 0
        self.calls: Counter[str] = Counter()
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.refusals: list[Exception] = []

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        self.transactions += 1
        self.begun.set()
        await self.open.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        return await self._store.transact(lambda tx: fn(CountingTx(tx, self.calls)))  # type: ignore[arg-type]


class CountingTx:
    """A transaction whose calls are counted by their names."""

    def __init__(self, tx: Tx, calls: Counter[str]) -> None:
        self._tx = tx
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._tx, name)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'twin.db'}", deciders=DECIDERS, clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
def counting(store: SqlStore) -> Counting:
    return Counting(store)


@pytest.fixture
def inboxes(counting: Counting) -> Inboxes:
    wrapped: Store = counting  # type: ignore[assignment]
    return Inboxes(wrapped, AeadVault([Key(bytes(32))]), LocalChanges())


async def numbers(store: SqlStore) -> list[tuple[int, str]]:
    return [(each.number, each.id) for each in await store.undone(FORGE, limit=999)]


async def test_a_burst_is_taken_in_few_transactions_and_in_its_order(
    store: SqlStore, counting: Counting, inboxes: Inboxes
) -> None:
    names = [f"d{number}" for number in range(100)]
    assert await asyncio.gather(*(inboxes.take(delivered(name)) for name in names)) == [True] * 100
    assert counting.transactions <= 6
    for once in ("state", "delivered", "keep_deliveries"):
        assert counting.calls[once] == counting.transactions, "for all that are taken together"
    assert await numbers(store) == list(enumerate(names, 1))
    row = await store.entity(INBOX.kind, inbox_id(FORGE))
    assert row is not None
    assert (row.state.taken, row.seq) == (100, 100), "an event for each"


async def test_of_those_that_come_twice_at_once_one_is_new(store: SqlStore, inboxes: Inboxes) -> None:
    new = await asyncio.gather(*(inboxes.take(delivered(f"d{number % 5}")) for number in range(20)))
    assert sum(new) == 5
    assert len(await numbers(store)) == 5


async def test_whoever_hangs_up_ends_nothing_for_the_others(
    store: SqlStore, counting: Counting, inboxes: Inboxes
) -> None:
    counting.open.clear()
    first, *rest = [asyncio.create_task(inboxes.take(delivered(f"d{number}"))) for number in range(4)]
    await counting.begun.wait()
    first.cancel()
    rest[1].cancel()
    counting.open.set()
    done = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, True, False]
    assert done[1] is done[3] is True
    assert {"d1", "d3"} <= {name for _, name in await numbers(store)}


async def test_a_database_that_is_away_refuses_all_and_takes_them_later(
    store: SqlStore, counting: Counting, inboxes: Inboxes
) -> None:
    counting.refusals = [Unavailable("away")]
    refused = await asyncio.gather(*(inboxes.take(delivered(f"d{n}")) for n in range(3)), return_exceptions=True)
    assert [type(each) for each in refused] == [Unavailable] * 3
    assert await asyncio.gather(*(inboxes.take(delivered(f"d{n}")) for n in range(3))) == [True] * 3


async def test_one_that_cannot_be_kept_stops_none_beside_it(
    store: SqlStore, counting: Counting, inboxes: Inboxes
) -> None:
    odd = delivered("odd", event="\ud800")  # no database keeps half of a character
    taken = await asyncio.gather(
        inboxes.take(delivered("d1")), inboxes.take(odd), inboxes.take(delivered("d2")), return_exceptions=True
    )
    assert (taken[0], taken[2]) == (True, True)
    assert isinstance(taken[1], Exception)
    assert [name for _, name in await numbers(store)] == ["d1", "d2"]

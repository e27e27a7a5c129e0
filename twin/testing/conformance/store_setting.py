"""Who acts in the suites of the store, when, and with what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twin.domain.decider import Cause
from twin.domain.identity import Actor
from twin.ports.store import (
    EventFilter,
    Recorded,
    Transition,
    Tx,
)
from twin.store import SqlStore
from twin.testing.counter import KIND, Count, Counter

DECIDERS = {KIND: Counter()}
ANNA = Actor("person", "anna")
BY_ANNA = Cause(ANNA, "req_1")
PAST = datetime(2001, 1, 1, tzinfo=UTC)
FUTURE = datetime(2999, 1, 1, tzinfo=UTC)
Database = Callable[[str], list[Any]]


class StoppedClock:
    """Stands still until moved; ids count up, so that they sort by age."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._ids = 0

    def now(self) -> datetime:
        """The time it was set to."""
        return self.time

    def fresh_id(self, prefix: str) -> str:
        """`<prefix>_000001`, and so on."""
        self._ids += 1
        return f"{prefix}_{self._ids:06}"

    def jitter(self) -> float:
        """Always a half."""
        return 0.5


async def send(store: SqlStore, entity: str, *inputs: Any, cause: Cause = BY_ANNA) -> list[Transition]:
    """One transaction per input."""

    def one(given: Any) -> Callable[[Tx], Transition]:
        return lambda tx: tx.transition(KIND, entity, given, cause)

    return [await store.transact(one(given)) for given in inputs]


async def state(store: SqlStore, entity: str) -> Count:
    row = await store.entity(KIND, entity)
    assert row is not None
    assert isinstance(row.state, Count)
    return row.state


async def log(store: SqlStore, wanted: EventFilter | None = None) -> list[Recorded]:
    """All pages, of two each."""
    found: list[Recorded] = []
    page = await store.events(wanted or EventFilter(), limit=2)
    while page.items:
        found.extend(page.items)
        page = await store.events(wanted or EventFilter(), limit=2, after=page.next)
    return found

"""What every store promises of what webhooks delivered: a part of the suite in `store.py`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from twin.ports.store import StoredDelivery, Tx
from twin.store import SqlStore
from twin.testing.conformance.store_setting import BY_ANNA, FUTURE, PAST, Database, state
from twin.testing.counter import KIND, Add, Open

FORGE = "github/main"
HEADERS = {"x-github-event": "pull_request", "content-type": "application/json; charset=utf-8"}


def delivery(number: int, name: str | None = None, target: str = FORGE) -> StoredDelivery:
    return StoredDelivery(
        target=target,
        id=name or f"d{number}",
        number=number,
        event="pull_request",
        headers=HEADERS,
        body=b"\x00packed\xff",
        taken_at=PAST,
    )


async def keep(store: SqlStore, *deliveries: StoredDelivery) -> None:
    await store.transact(lambda tx: tx.keep_deliveries(deliveries))


class DeliveriesConformance:
    """Kept once, handled once, in the order in which they came."""

    async def test_deliveries_are_given_back_as_they_came_until_they_are_handled(self, store: SqlStore) -> None:
        await keep(store, delivery(2), delivery(1), delivery(10), delivery(1, target="gitea/main"))
        assert await store.undone(FORGE, limit=9) == (delivery(1), delivery(2), delivery(10))
        assert await store.undone(FORGE, limit=1, after=1) == (delivery(2),)
        assert await store.transact(lambda tx: [tx.end_delivery(FORGE, 2), tx.end_delivery(FORGE, 2)]) == [True, False]
        assert [each.number for each in await store.undone(FORGE, limit=9)] == [1, 10]
        assert [each.number for each in await store.undone("gitea/main", limit=9)] == [1], "another's numbers"

    async def test_a_delivery_is_known_by_its_id_for_ever(self, store: SqlStore) -> None:
        await keep(store, delivery(1, "abc"))

        def known(tx: Tx) -> list[frozenset[str]]:
            asked = ((FORGE, ("abc",)), (FORGE, ("ABC",)), ("gitea/main", ("abc", "ABC")), (FORGE, ("ABC", "abc", "x")))
            return [tx.delivered(target, ids) for target, ids in asked]

        them = [frozenset({"abc"}), frozenset(), frozenset(), frozenset({"abc"})]
        assert await store.transact(known) == them
        await store.transact(lambda tx: tx.end_delivery(FORGE, 1))
        await store.transact(lambda tx: tx.drop_deliveries(FORGE, FUTURE))
        assert await store.transact(known) == them
        await store.transact(lambda tx: tx.keep_deliveries(()))
        assert await store.transact(lambda tx: tx.delivered(FORGE, ())) == frozenset()

    async def test_old_bodies_are_dropped_and_those_of_what_is_to_be_done_are_not(
        self, store: SqlStore, database: Database
    ) -> None:
        await keep(store, *(delivery(number) for number in range(1, 5)))

        def bodies() -> list[int]:
            found = database("SELECT number FROM deliveries WHERE body IS NOT NULL ORDER BY number")
            return [row[0] for row in found]

        await store.transact(lambda tx: [tx.end_delivery(FORGE, number) for number in (1, 2, 3)])
        database("UPDATE deliveries SET handled_at = number * 1000000 WHERE number < 4")
        second, third = datetime.fromtimestamp(2, UTC), datetime.fromtimestamp(3, UTC)
        left = await store.transact(lambda tx: tx.drop_deliveries(FORGE, second))
        assert (bodies(), left) == ([3, 4], third), "those handled up to the time alone"
        assert await store.transact(lambda tx: tx.drop_deliveries(FORGE, FUTURE)) is None
        assert bodies() == [4]
        assert await store.undone(FORGE, limit=9) == (delivery(4),)

    async def test_one_of_two_that_take_the_same_delivery_at_once_keeps_it(self, store: SqlStore) -> None:
        """With a lock on an entity, as the port demands; it may be the delivery that makes it be."""

        def take(tx: Tx) -> bool:
            count = tx.state(KIND, "inbox")
            if tx.delivered(FORGE, ("same",)):
                return False
            given = Open("", "inbox") if count is None else Add(1)
            total = tx.transition(KIND, "inbox", given, BY_ANNA).after.total
            tx.keep_deliveries((delivery(total + 1, "same"),))
            return True

        taken = await asyncio.gather(*(store.transact(take) for _ in range(8)))
        assert sorted(taken) == [False] * 7 + [True]
        assert (await state(store, "inbox")).total == 0
        assert len(await store.undone(FORGE, limit=9)) == 1

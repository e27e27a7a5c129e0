"""What every store promises to whoever must not create too much, and to whoever waits for room: a part of the suite in
`store.py`."""

from __future__ import annotations

import asyncio
from functools import partial

from twin.ports.store import Tx
from twin.store import SqlStore
from twin.testing.conformance.store_setting import BY_ANNA, send
from twin.testing.counter import KIND, Add, Close, Open, Stop


class RoomConformance:
    """Counting is alone; an end makes room."""

    async def test_who_counts_what_lives_is_alone_with_it(self, store: SqlStore) -> None:
        """Whoever creates by what is there already creates no more than that allows."""
        for name, tier in (("one", "dev"), ("two", "preview"), ("gone", "preview")):
            await send(store, name, Open("shop", name, tier))
        await send(store, "other", Open("other", "one", "dev"))
        await send(store, "gone", Close())
        assert await store.transact(lambda tx: tx.living(KIND, "shop")) == {"dev": 1, "preview": 1}

        def one_more(tx: Tx, number: int) -> bool:
            tx.shared(KIND, "one")
            if sum(tx.living(KIND, "shop").values()) >= 4:
                return False
            tx.transition(KIND, f"more-{number}", Open("shop", f"more-{number}"), BY_ANNA)
            return True

        made = await asyncio.gather(*(store.transact(partial(one_more, number=number)) for number in range(8)))
        assert sum(made) == 2

    async def test_an_end_frees_who_waits_for_it(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one", "dev", {"frees": "shop/room"}))
        await send(store, "c2", Open("shop", "two"), Stop("shop/room"))
        await send(store, "c1", Add(1))
        assert [each.waiting for each in await store.blocks()] == [1], "it lives"
        await send(store, "c1", Close())
        (block,) = await store.blocks(open_only=False)
        assert block.resolved_at is not None
        assert block.waiting == 0
        await send(store, "c1", Add(1))

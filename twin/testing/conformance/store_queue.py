"""What every store promises of tasks, workers and blocks: a part of the suite in `store.py`."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from twin.domain.decider import AT_ONCE, TaskSpec
from twin.ports.store import (
    Claimed,
    Tx,
)
from twin.store import SqlStore
from twin.testing.conformance.store_setting import (
    ANNA,
    BY_ANNA,
    FUTURE,
    PAST,
    Database,
    send,
)
from twin.testing.counter import KIND, Add, Open, Plan, Stop, step


class QueueConformance:
    """Leases, epochs, deaths, and waking up."""

    async def test_tasks_follow_the_state_by_difference(self, store: SqlStore) -> None:
        later = TaskSpec("timer", "expiry", "timers", FUTURE)
        await send(store, "c1", Open("shop", "one"), Plan((step("db"), step("app", "eu"), later)))
        assert sorted(await store.queues()) == ["eu", "local"]
        assert await store.due_timers(9) == []
        await send(store, "c1", Plan((later,)))
        assert await store.queues() == []
        assert await store.next_due() == FUTURE
        overdue = TaskSpec("timer", "expiry", "timers", PAST)
        await send(store, "c1", Plan((overdue,)))
        (timer,) = await store.due_timers(9)
        assert (timer.kind, timer.key, timer.epoch, timer.entity_kind) == ("timer", "expiry", 0, KIND)
        await send(store, "c1", Plan(()))
        assert await store.next_due() is None

    async def test_claims_take_no_more_than_is_free_and_nothing_twice(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"))
        await send(store, "c1", Plan(tuple(step(f"s{n}", "eu" if n % 2 else "us") for n in range(10))))
        first = await store.claim("w1", {"eu": 2, "us": 3, "none": 5}, 4)
        assert sorted(task.queue for task in first) == ["eu", "eu", "us", "us"]
        second = await store.claim("w2", {"eu": 9, "us": 9}, 99)
        assert len({task.key for task in (*first, *second)}) == 10
        assert {task.epoch for task in (*first, *second)} == {1}
        assert await store.claim("w3", {"eu": 9, "us": 9}, 99) == []

    async def test_many_workers_at_once_never_share_a_task(self, store: SqlStore) -> None:
        for number in range(6):
            await send(store, f"c{number}", Open("shop", f"n{number}"), Plan(tuple(step(f"s{n}") for n in range(5))))
        claims = await asyncio.gather(*(store.claim(f"w{n}", {"local": 7}, 7) for n in range(8)))
        keys = [(task.entity, task.key) for claimed in claims for task in claimed]
        rest = [(task.entity, task.key) for task in await store.claim("last", {"local": 99}, 99)]
        assert len(keys) + len(rest) == len({*keys, *rest}) == 30

    async def test_a_ceiling_bounds_a_queue_over_all_workers(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan(tuple(step(f"s{n}") for n in range(9))))
        ceiling = {"local": 4}
        claims = await asyncio.gather(*(store.claim(f"w{n}", {"local": 3}, 3, ceilings=ceiling) for n in range(6)))
        claimed = [task for each in claims for task in each]
        assert len(claimed) == 4, "however the workers race, no more are leased at once"
        await store.put_off(claimed[0], 60)
        assert len(await store.claim("last", {"local": 9}, 9, ceilings=ceiling)) == 1

    async def test_a_lease_is_held_under_its_epoch_until_the_step_is_due_again(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        (task,) = await store.claim("w1", {"local": 1}, 1)
        await send(store, "c1", Plan((step("db", running=True),)))
        assert await self.holds(store, task, "w1"), "a running step keeps its lease"
        assert not await self.holds(store, task, "w2")
        assert await store.claim("w2", {"local": 1}, 1) == []
        await send(store, "c1", Plan((step("db"),)))
        assert not await self.holds(store, task, "w1"), "its result is in, the retry is anybody's"
        (again,) = await store.claim("w2", {"local": 1}, 1)
        assert (again.epoch, again.deaths) == (2, 0)

    async def test_a_claimed_task_that_is_put_off_is_nobodys(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        (task,) = await store.claim("w1", {"local": 1}, 1)
        await send(store, "c1", Add(1), Plan((step("db"),)))
        assert await self.holds(store, task, "w1"), "still due at once: claimed is claimed"
        await send(store, "c1", Plan((step("db", due=FUTURE),)))
        assert not await self.holds(store, task, "w1")

    async def test_no_epoch_is_ever_given_twice(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        (zombie,) = await store.claim("w1", {"local": 1}, 1)
        await send(store, "c1", Plan(()), Plan((step("db"),)))
        (task,) = await store.claim("w1", {"local": 1}, 1)
        assert task.epoch > zombie.epoch, "claimed, but never started, so that the state knows nothing of it"
        assert not await self.holds(store, zombie, "w1")
        await send(store, "c1", Plan(()), Plan((step("db"),), epoch=7))
        (task,) = await store.claim("w1", {"local": 1}, 1)
        assert task.epoch == 8, "the state has seen epochs up to 7"

    async def test_a_released_task_can_be_claimed_and_counts_its_deaths(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        for deaths in (0, 1):
            (task,) = await store.claim("w1", {"local": 1}, 1)
            assert task.deaths == deaths
            assert await self.release(store, task, died=True)
            assert not await self.release(store, task, died=True), "a second reaper finds nothing"
        assert await store.claim("w1", {"local": 1}, 1) == [], "after two deaths it runs alone"
        (loner,) = await store.claim("w1", {"local": 1}, 1, alone=True)
        assert loner.deaths == 2
        assert await self.release(store, loner, died=False)
        assert (await store.claim("w1", {"local": 5}, 5, alone=True))[0].deaths == 2

    async def test_a_step_that_dies_running_keeps_its_deaths_and_a_result_clears_them(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        (task,) = await store.claim("w1", {"local": 1}, 1)
        await send(store, "c1", Plan((step("db", running=True),)))

        def reap(tx: Tx) -> None:
            assert tx.release(task, died=True)
            tx.transition(KIND, "c1", Plan((step("db"),)), BY_ANNA)

        await store.transact(reap)
        (task,) = await store.claim("w2", {"local": 1}, 1)
        assert (task.deaths, task.epoch) == (1, 2)
        await send(store, "c1", Plan((step("db", running=True),)), Plan((step("db"),)))
        (task,) = await store.claim("w2", {"local": 1}, 1)
        assert task.deaths == 0

    async def test_a_running_step_tells_its_progress_as_long_as_its_lease_is_its_own(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"), step("app"))))
        (db,) = [task for task in await store.claim("w1", {"local": 9}, 9) if task.key == "db"]
        assert await store.progress("c1") == {}
        before = await store.entity(KIND, "c1")
        assert await store.tell(db, "1 of 2")
        assert await store.tell(db, "2 of 2")
        assert await store.progress("c1") == {"db": "2 of 2"}, "the latest, and not of a step that says nothing"
        assert await store.progress("c2") == {}
        assert await store.entity(KIND, "c1") == before, "no transition, no event"
        assert not await store.tell(replace(db, epoch=db.epoch - 1), "from a zombie")
        await send(store, "c1", Plan((step("db", running=True),)))
        assert await store.progress("c1") == {"db": "2 of 2"}
        await send(store, "c1", Plan((step("db"),)))
        assert await store.progress("c1") == {}, "the attempt has ended"
        assert not await store.tell(db, "too late")
        (again,) = await store.claim("w1", {"local": 9}, 9)
        assert again.key == "db"
        assert await store.tell(again, "anew")
        assert not await store.tell(db, "still too late")
        assert await self.release(store, again, died=True)
        assert await store.progress("c1") == {}, "nobody knows any more how far it is"
        (again,) = await store.claim("w1", {"local": 9}, 9)
        await store.tell(again, "nearly")
        await send(store, "c1", Plan(()))
        assert (await store.tell(again, "after the end"), await store.progress("c1")) == (False, {})

    async def test_silent_workers_are_dead_and_named_with_what_they_hold(
        self, store: SqlStore, database: Database
    ) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        await store.register("w1", "host", 1)
        (task,) = await store.claim("w1", {"local": 1}, 1)
        assert await store.dead(30) == []
        database("UPDATE workers SET beat_at = beat_at - 60000000")
        store.heartbeat("w1")
        assert await store.dead(30) == []
        database("UPDATE workers SET beat_at = beat_at - 60000000")
        assert [(worker, list(tasks)) for worker, tasks in await store.dead(30)] == [("w1", [task])]
        await self.release(store, task, died=True)
        await store.bury("w1", silent=30)
        assert database("SELECT name FROM workers") == []

    async def test_a_worker_that_is_back_is_not_buried(self, store: SqlStore, database: Database) -> None:
        await store.register("w1", "host", 1)
        await store.bury("w1", silent=30)
        assert len(database("SELECT name FROM workers")) == 1, "it would claim as a stranger, whose leases are free"
        await store.bury("w1")
        assert database("SELECT name FROM workers") == [], "it signs off itself"

    async def test_a_lease_of_a_worker_that_nobody_knows_is_a_dead_ones(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        (task,) = await store.claim("ghost", {"local": 1}, 1)
        assert [(worker, list(tasks)) for worker, tasks in await store.dead(30)] == [("ghost", [task])]

    async def holds(self, store: SqlStore, task: Claimed, worker: str) -> bool:
        """Whether the store says so."""
        return await store.transact(lambda tx: tx.holds(task, worker))

    async def release(self, store: SqlStore, task: Claimed, *, died: bool) -> bool:
        """End a lease."""
        return await store.transact(lambda tx: tx.release(task, died=died))

    async def test_waiting_ends_when_something_becomes_due(self, store: SqlStore) -> None:
        await store.wait_for_work(0.05)  # drains what opening may have rung
        waiting = asyncio.create_task(store.wait_for_work(60))
        await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        await asyncio.wait_for(waiting, 10)

    # --- blocks

    async def test_resolving_a_block_wakes_every_twin_it_stops(self, store: SqlStore) -> None:
        for number in range(3):
            await send(store, f"c{number}", Open("shop", f"n{number}"), Stop("local/quota"))
        (block,) = await store.blocks()
        assert (block.key, block.waiting, block.entities) == ("local/quota", 3, ("c0", "c1", "c2"))
        assert await store.due_timers(9) == []
        assert await store.transact(lambda tx: tx.resolve_block("local/quota", ANNA)) == 3
        assert [task.entity for task in await store.due_timers(9)] == ["c0", "c1", "c2"]
        assert await store.blocks() == ()
        await send(store, "c1", Add(1))
        assert len(await store.due_timers(9)) == 3, "no transition takes back what the resolving has made due"
        assert await store.transact(lambda tx: tx.resolve_block("local/quota", ANNA)) is None
        assert await store.transact(lambda tx: tx.resolve_block("unknown", ANNA)) is None

    async def test_a_resolved_block_that_is_raised_again_is_open(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Stop("local/quota"))
        await store.transact(lambda tx: tx.resolve_block("local/quota", ANNA))
        (resolved,) = await store.blocks(open_only=False)
        assert resolved.resolved_by == ANNA
        await send(store, "c1", Plan(()), Stop("local/quota"))
        (block,) = await store.blocks()
        assert (block.resolved_at, block.resolved_by, block.waiting) == (None, None, 1)

    async def test_a_task_that_is_at_once_is_due_now(self, store: SqlStore) -> None:
        (_, planned) = await send(store, "c1", Open("shop", "one"), Plan((step("db"),)))
        assert planned.tasks[0].due == AT_ONCE
        assert await store.next_due() == planned.events[0].at

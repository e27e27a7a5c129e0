"""What every store promises, on whatever database: subclass, and give the four fixtures.

class TestMine(StoreConformance):
    store     an open store with `store_setting.DECIDERS`, closed by the fixture
    clock     a `store_setting.StoppedClock`, the one that was given to the store
    database  a callable that runs SQL behind the store's back and returns the rows
    intruder  the same, as somebody who first drops the triggers that keep events append-only
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from twin.domain.decider import Cause
from twin.domain.errors import Conflict, Invalid, Rejected, Unavailable
from twin.domain.identity import Actor
from twin.domain.targets import Target
from twin.ports.store import EventFilter, IdempotentReply, StoredBlueprint, StoredToken, Tx
from twin.store import SqlStore
from twin.testing.conformance.store_deliveries import DeliveriesConformance
from twin.testing.conformance.store_queue import QueueConformance
from twin.testing.conformance.store_room import RoomConformance
from twin.testing.conformance.store_setting import (
    ANNA,
    BY_ANNA,
    FUTURE,
    PAST,
    Database,
    log,
    send,
    state,
)
from twin.testing.counter import KIND, Add, Close, End, Open, Stop


class StoreConformance(QueueConformance, DeliveriesConformance, RoomConformance):
    """The suite."""

    # --- transitions

    async def test_a_transition_appends_saves_and_returns(self, store: SqlStore) -> None:
        (opened, added) = await send(store, "c1", Open("shop", "one", labels={"team": "web"}), Add(2, "op_1"))
        assert opened.before is None
        assert [event.type for event in added.events] == ["operation_accepted", "added"]
        assert [event.seq for event in added.events] == [2, 3]
        row = await store.entity(KIND, "c1")
        assert row is not None
        assert (row.seq, row.status, row.labels, row.state.total) == (3, "open", {"team": "web"}, 2)
        assert row.state == added.after

    async def test_a_refused_input_writes_nothing_and_the_transaction_goes_on(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"))

        def fn(tx: Tx) -> None:
            with pytest.raises(Rejected):
                tx.transition(KIND, "c1", Add(0), BY_ANNA)
            tx.transition(KIND, "c1", Add(5), BY_ANNA)

        await store.transact(fn)
        assert (await state(store, "c1")).total == 5
        assert len(await log(store)) == 2

    async def test_a_function_that_raises_leaves_nothing(self, store: SqlStore) -> None:
        def fn(tx: Tx) -> None:
            tx.transition(KIND, "c1", Open("shop", "one"), BY_ANNA)
            tx.put_secret("c1", "db", 1, "password", b"sealed")
            raise ValueError("changed my mind")

        with pytest.raises(ValueError, match="changed my mind"):
            await store.transact(fn)
        assert await store.entity(KIND, "c1") is None
        assert await store.transact(lambda tx: tx.secrets("c1", "db")) == {}

    async def test_several_transitions_in_one_transaction_build_on_each_other(self, store: SqlStore) -> None:
        def fn(tx: Tx) -> tuple[Any, Any]:
            assert tx.state(KIND, "c1") is None
            tx.transition(KIND, "c1", Open("shop", "one"), BY_ANNA)
            tx.transition(KIND, "c2", Open("shop", "two"), BY_ANNA)
            tx.transition(KIND, "c1", Add(1), BY_ANNA)
            return tx.state(KIND, "c1"), tx.transition(KIND, "c1", Add(1), BY_ANNA).before

        seen, before = await store.transact(fn)
        assert seen.total == before.total == 1
        assert (await store.verify()).findings == ()

    async def test_a_shared_state_is_the_last_committed_or_what_this_transaction_made_of_it(
        self, store: SqlStore
    ) -> None:
        assert await store.transact(lambda tx: tx.shared(KIND, "c1")) is None
        await send(store, "c1", Open("shop", "one"), Add(2))

        def fn(tx: Tx) -> tuple[int, int]:
            before = tx.shared(KIND, "c1").total
            tx.transition(KIND, "c1", Add(1), BY_ANNA)
            return before, tx.shared(KIND, "c1").total

        assert await store.transact(fn) == (2, 3)

    async def test_concurrent_transitions_of_one_entity_lose_nothing(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"))
        await asyncio.gather(*(send(store, "c1", Add(1), Add(1)) for _ in range(12)))
        assert (await state(store, "c1")).total == 24
        assert [event.seq for event in await log(store, EventFilter(entity="c1"))] == list(range(1, 26))

    async def test_concurrent_creations_of_one_id_become_one_entity(self, store: SqlStore) -> None:
        def fn(tx: Tx) -> None:
            if tx.state(KIND, "platform") is None:
                tx.transition(KIND, "platform", Open("", "platform"), BY_ANNA)
            tx.transition(KIND, "platform", Add(1), BY_ANNA)

        await asyncio.gather(*(store.transact(fn) for _ in range(8)))
        assert (await state(store, "platform")).total == 8

    async def test_a_live_name_is_unique_and_free_again_after_the_end(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "dev"))
        with pytest.raises(Conflict):
            await send(store, "c2", Open("shop", "dev"))
        await send(store, "c3", Open("other", "dev"))
        await send(store, "c1", Close())
        await send(store, "c2", Open("shop", "dev"))
        with pytest.raises(Conflict):
            await send(store, "c1", Open("shop", "dev"))  # it would come back to life under a taken name
        assert await store.transact(lambda tx: tx.find(KIND, "shop", "dev")) == "c2"
        await send(store, "c2", Close())
        assert await store.transact(lambda tx: tx.find(KIND, "shop", "dev")) is None
        assert await store.transact(lambda tx: tx.find(KIND, "shop", "dev", live=False)) == "c2"
        newest = await store.named(KIND, "shop", "dev")
        assert newest is not None
        assert newest.entity == "c2"

    async def test_creating_one_name_at_the_same_time_conflicts_but_once(self, store: SqlStore) -> None:
        tried = await asyncio.gather(
            *(send(store, f"c{n}", Open("shop", "dev")) for n in range(6)), return_exceptions=True
        )
        assert sum(isinstance(outcome, Conflict) for outcome in tried) == 5

    async def test_time_never_goes_back(self, store: SqlStore, database: Database) -> None:
        await send(store, "c1", Open("shop", "one"))
        # As if a clock had shown the year 3000, and is right again.
        database("UPDATE entities SET updated_at = 32503680000000000")
        (added,) = await send(store, "c1", Add(1))
        assert added.events[0].at.year == 3000
        row = await store.entity(KIND, "c1")
        assert row is not None
        assert row.updated_at.year == 3000

    async def test_what_a_newer_version_has_written_is_left_alone(self, store: SqlStore, database: Database) -> None:
        await send(store, "c1", Open("shop", "one"))
        database("UPDATE entities SET schema_v = 99")
        with pytest.raises(Unavailable, match="newer version"):
            await send(store, "c1", Add(1))

    # --- operations

    async def test_operations_are_kept_from_accepted_to_ended(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Add(1, "op_1"), Add(1, "op_2"), Add(1, "op_3"))
        running = await store.operation("op_1")
        assert running is not None
        assert (running.outcome, running.body.arguments) == (None, {"amount": 1})
        await send(store, "c1", End("op_1"), End("op_2", "failed"))
        ended = await store.operation("op_2")
        assert ended is not None
        assert (ended.outcome, ended.end.outcome) == ("failed", "failed")
        assert ended.ended_at is not None
        first = await store.operations("c1", limit=2)
        rest = await store.operations("c1", limit=2, after=first.next)
        assert [row.body.id for row in (*first.items, *rest.items)] == ["op_3", "op_2", "op_1"]
        assert rest.next is None
        assert await store.operation("op_9") is None

    # --- entities

    async def test_entities_are_filtered_and_paged(self, store: SqlStore) -> None:
        for number in range(5):
            labels = {"team": "web" if number % 2 else "core"}
            await send(store, f"c{number}", Open("shop", f"n{number}", tier="dev", labels=labels))
        await send(store, "c9", Open("other", "n9", tier="prod"))
        await send(store, "c0", Close())
        page = await store.entities(KIND, project="shop", limit=3)
        assert [row.entity for row in page.items] == ["c1", "c2", "c3"]
        rest = await store.entities(KIND, project="shop", limit=3, after=page.next)
        assert ([row.entity for row in rest.items], rest.next) == (["c4"], None)
        assert [row.entity for row in (await store.entities(KIND, labels={"team": "web"})).items] == ["c1", "c3"]
        assert [row.entity for row in (await store.entities(KIND, tier="prod")).items] == ["c9"]
        assert [row.entity for row in (await store.entities(KIND, status="closed", live=False)).items] == ["c0"]

    @pytest.mark.parametrize("cursor", ["", "x", "!!!", "W10", "WyJlIiwxXQ", "ä"])
    async def test_a_cursor_that_is_not_ours_is_invalid(self, store: SqlStore, cursor: str) -> None:
        for ask in (
            store.events(EventFilter(), after=cursor),
            store.entities(KIND, after=cursor),
            store.operations("c1", after=cursor),
        ):
            with pytest.raises(Invalid) as refused:
                await ask
            assert refused.value.field == "after"

    # --- the log

    async def test_events_are_found_by_what_their_columns_say(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one", tier="prod"), Add(1, "op_1"), Stop("local/quota", "db"))
        timer = Cause(Actor("timer", "expiry"), "req_2")
        await send(store, "c2", Open("other", "two"), Add(3), End("op_1"), cause=timer)

        async def types(**wanted: Any) -> list[tuple[str, str]]:
            return [(event.entity, event.type) for event in await log(store, EventFilter(**wanted))]

        assert len(await types()) == 8
        assert await types(project="other") == [("c2", "opened"), ("c2", "added"), ("c2", "operation_ended")]
        assert (
            len(await types(tier="prod")) == len(await types(environment="one")) == len(await types(entity="c1")) == 5
        )
        assert await types(component="db") == [("c1", "block_raised")]
        assert await types(type="added") == [("c1", "added"), ("c2", "added")]
        assert await types(operation="op_1") == [("c1", "operation_accepted"), ("c2", "operation_ended")]
        assert len(await types(correlation="req_2")) == len(await types(actor="timer:expiry")) == 3
        assert await types(actor="expiry", project="shop") == []
        assert len(await types(since=PAST, until=FUTURE)) == 8
        assert await types(until=PAST) == await types(since=FUTURE) == []
        (recorded,) = await log(store, EventFilter(component="db"))
        assert recorded.event.key == "local/quota"
        assert b'"type":"block_raised"' in recorded.body

    async def test_the_cursor_of_an_event_goes_on_after_it(self, store: SqlStore) -> None:
        (opened, _, last) = await send(store, "c1", Open("shop", "one"), Add(1), Add(2))
        for wanted in (EventFilter(), EventFilter(entity="c1")):
            page = await store.events(wanted, after=opened.events[0].cursor)
            assert page.items[-1:] == last.events, "a transition gives them as the log does"
            assert [event.seq for event in page.items] == [2, 3]
            assert page.next == last.events[0].cursor, "given on the last page, so that a follower can go on"
            assert (await store.events(wanted, after=page.next)).items == ()

    async def test_history_is_the_fold_up_to_a_time_or_number(self, store: SqlStore) -> None:
        moves = await send(store, "c1", Open("shop", "one"), *(Add(1) for _ in range(4)))
        for seq, move in enumerate(moves, 1):
            assert await store.history(KIND, "c1", until_seq=seq) == move.after
        assert await store.history(KIND, "c1", until=FUTURE) == moves[-1].after
        assert await store.history(KIND, "c1", until=PAST) is None
        assert await store.history(KIND, "c9") is None

    async def test_events_cannot_be_changed_or_removed(self, store: SqlStore, database: Database) -> None:
        await send(store, "c1", Open("shop", "one"))
        for statement in ("UPDATE events SET type = 'x'", "DELETE FROM events"):
            with pytest.raises(Exception, match="append-only"):
                database(statement)
        assert len(await log(store)) == 1

    async def test_verify_finds_nothing_in_an_honest_log(self, store: SqlStore) -> None:
        await send(store, "c1", Open("shop", "one"), Add(1, "op_1"), Stop("k"))
        await send(store, "c2", Open("shop", "two"))
        everything = await store.verify()
        assert (everything.entities, everything.events, everything.findings) == (2, 6, ())
        one = await store.verify("c2")
        assert (one.entities, one.events, one.heads) == (1, 1, {"c2": everything.heads["c2"]})

    @pytest.mark.parametrize(
        ("tampering", "seq", "problem"),
        [
            ("UPDATE events SET actor_name = 'bob' WHERE entity = 'c1' AND seq = 2", 2, "column actor_name"),
            ("UPDATE events SET body = prev_hash WHERE entity = 'c1' AND seq = 2", 2, "not those that were hashed"),
            ("UPDATE events SET prev_hash = hash WHERE entity = 'c1' AND seq = 2", 2, "does not follow"),
            ("DELETE FROM events WHERE entity = 'c1' AND seq = 2", 3, "missing"),
            ("DELETE FROM events WHERE entity = 'c1' AND seq = 3", 2, "the snapshot stands at 3"),
            ("UPDATE entities SET head = (SELECT MIN(hash) FROM events WHERE seq = 1)", 3, "follows from another"),
        ],
    )
    async def test_verify_names_the_row_that_was_changed(
        self, store: SqlStore, intruder: Database, tampering: str, seq: int, problem: str
    ) -> None:
        await send(store, "c1", Open("shop", "one"), Add(1), Add(1))
        intruder(tampering)
        found = (await store.verify()).findings
        assert any(f.entity == "c1" and f.seq == seq and problem in f.problem for f in found), found

    # --- the rows around

    async def test_an_idempotency_key_keeps_its_reply_until_it_expires(self, store: SqlStore) -> None:
        reply = IdempotentReply(digest="d", operation_id="op_1", entity="c1", expires_at=FUTURE)
        old = IdempotentReply(digest="d", operation_id="op_0", entity="c1", expires_at=PAST)
        await store.transact(lambda tx: tx.remember("anna", "k", old))
        assert await store.transact(lambda tx: tx.idempotent("anna", "k")) is None
        await store.transact(lambda tx: tx.remember("anna", "k", reply))
        assert await store.transact(lambda tx: tx.idempotent("anna", "k")) == reply
        assert await store.transact(lambda tx: tx.idempotent("bob", "k")) is None

    async def test_secrets_are_found_by_version_or_the_newest_of_each_name(self, store: SqlStore) -> None:
        def put(tx: Tx) -> None:
            tx.put_secret("c1", "db", 1, "password", b"one")
            tx.put_secret("c1", "db", 1, "url", b"url")
            tx.put_secret("c1", "db", 2, "password", b"tow")
            tx.put_secret("c1", "db", 2, "password", b"two")
            tx.put_secret("c1", "app", 1, "key", b"key")

        await store.transact(put)
        assert await store.transact(lambda tx: tx.secrets("c1", "db")) == {"password": (2, b"two"), "url": (1, b"url")}
        assert await store.transact(lambda tx: tx.secrets("c1", "db", 2)) == {"password": (2, b"two")}
        await store.transact(lambda tx: tx.drop_secrets("c1", "db"))
        assert await store.transact(lambda tx: tx.secrets("c1", "db")) == {}
        await store.transact(lambda tx: tx.drop_secrets("c1"))
        assert await store.transact(lambda tx: tx.secrets("c1", "app")) == {}

    async def test_a_published_blueprint_never_changes(self, store: SqlStore) -> None:
        def version(number: str, bundle: str) -> StoredBlueprint:
            return StoredBlueprint(
                name="guestbook",
                version=number,
                document=b"{}",
                bundle=bundle,
                published_at=datetime(2026, 1, 1, tzinfo=UTC),
                published_by=ANNA,
            )

        def publish(tx: Tx) -> list[bool]:
            return [
                tx.put_blueprint(version("1.0.0", "sha:1"), b"files"),
                tx.put_blueprint(version("1.1.0", "sha:2"), b"more"),
                tx.put_blueprint(version("1.0.0", "sha:1"), b"files"),
            ]

        assert await store.transact(publish) == [True, True, False]
        with pytest.raises(Conflict):
            await store.transact(lambda tx: tx.put_blueprint(version("1.0.0", "sha:3"), b"other"))
        assert [b.version for b in await store.blueprints("guestbook")] == ["1.1.0", "1.0.0"]
        assert await store.transact(lambda tx: tx.blueprint("guestbook")) == version("1.1.0", "sha:2")
        assert await store.transact(lambda tx: tx.blueprint("guestbook", "1.0.0")) == version("1.0.0", "sha:1")
        assert await store.transact(lambda tx: tx.blueprint("guestbook", "9")) is None
        assert await store.transact(lambda tx: tx.bundle("sha:1")) == b"files"
        assert await store.transact(lambda tx: tx.bundle("sha:3")) is None

    async def test_the_name_of_a_token_is_its_own_until_it_is_dropped(self, store: SqlStore) -> None:
        def token(hashed: str) -> StoredToken:
            over = PAST + timedelta(days=1)
            return StoredToken(hash=hashed, name="ci", roles=(), created_at=PAST, expires_at=over)

        await store.transact(lambda tx: tx.put_token(token("h")))
        with pytest.raises(Conflict, match="'ci' already"):
            await store.transact(lambda tx: tx.put_token(token("other")))
        assert await store.transact(lambda tx: [tx.drop_token("ci"), tx.drop_token("ci")]) == [True, False]
        await store.transact(lambda tx: tx.put_token(token("other")))

    async def test_ciphertexts_are_walked_and_replaced_only_as_they_were_read(self, store: SqlStore) -> None:
        def put(tx: Tx) -> None:
            for component, version, name in (
                ("app", 1, "key"),
                ("db", 1, "url"),
                ("db", 2, "password"),
                ("db", 2, "url"),
            ):
                tx.put_secret("c1", component, version, name, b"old\x00" + name.encode())
            tx.put_secret("c1", "db", 2, "seen", b"new\x00seen")

        await store.transact(put)
        first = await store.sealed_otherwise(b"new\x00", limit=3)
        (last,) = await store.sealed_otherwise(b"new\x00", limit=3, after=first[-1])
        assert [(each.component, each.version, each.name) for each in (*first, last)] == [
            ("app", 1, "key"),
            ("db", 1, "url"),
            ("db", 2, "password"),
            ("db", 2, "url"),
        ]
        assert last.sealed == b"old\x00url"

        def replace(tx: Tx) -> list[bool]:
            tx.put_secret("c1", "db", 1, "url", b"rotated meanwhile")
            tx.drop_secrets("c1", "app")
            return [tx.reseal(each, b"new\x00") for each in (*first, last)]

        assert await store.transact(replace) == [False, False, True, True]
        assert await store.transact(lambda tx: tx.secrets("c1", "app")) == {}
        (left,) = await store.sealed_otherwise(b"new\x00")
        assert left.sealed == b"rotated meanwhile"

    async def test_targets_and_tokens_are_kept(self, store: SqlStore) -> None:
        eu = Target(name="postgres/eu", provider="postgres", config={"host": "eu"}, tiers=("prod",))
        token = StoredToken(hash="h", name="ci", roles=(("shop", "developer"),), created_at=PAST)
        expired = StoredToken(hash="x", name="old", roles=(), created_at=PAST, expires_at=PAST + timedelta(days=1))

        def put(tx: Tx) -> None:
            tx.put_target(Target(name="postgres/eu", provider="other"))
            tx.put_target(eu)
            tx.put_token(token)
            tx.put_token(expired)

        await store.transact(put)
        assert await store.transact(lambda tx: tx.targets()) == (eu,)
        assert await store.token("h") == token
        assert await store.token("x") is None
        assert await store.tokens() == await store.transact(lambda tx: tx.tokens()) == (token, expired)
        assert await store.transact(lambda tx: [tx.drop_target("postgres/eu"), tx.drop_target("postgres/eu")]) == [
            True,
            False,
        ]

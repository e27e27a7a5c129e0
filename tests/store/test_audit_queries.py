"""Audit queries take short ways through the log; they find what looking at every event would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from sqlalchemy import Connection, Text, cast, create_engine, event, insert, literal, make_url, select
from sqlalchemy.pool import NullPool

from twin.domain.identity import Actor
from twin.ports.store import EventFilter, Recorded
from twin.store import audit, chain, migrations
from twin.store.moments import to_micros
from twin.store.tables import Xid8, events
from twin.testing.conformance.store_setting import DECIDERS
from twin.testing.counter import KIND

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHORT, WIDE = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture(scope="session")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path: Path = tmp_path_factory.mktemp("audit") / "twin.db"
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.connect() as connection:
        with connection.begin():
            migrations.upgrade(connection)
        yield connection


@pytest.fixture(scope="session")
def on_postgres(postgres_server: str, postgres_template: str) -> Iterator[Connection]:
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"CREATE DATABASE audit_queries TEMPLATE {postgres_template}")
    url = make_url(postgres_server).set(drivername="postgresql+psycopg", database="audit_queries")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute("DROP DATABASE audit_queries WITH (FORCE)")


FEW = st.sampled_from(["a", "b"])
MAYBE = st.none() | FEW
TYPES = st.sampled_from(["opened", "added"])
# Within a quarter of a day, around its edge, hours and years away: clocks are set back, and go wrong.
TIMES = st.builds(
    lambda steps, step: NOON + steps * step,
    st.integers(-20, 20),
    st.sampled_from([SHORT, timedelta(hours=1), timedelta(hours=6), WIDE, timedelta(days=1500)]),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "entity": FEW,
            "at": TIMES,
            "actor": st.builds(Actor, st.sampled_from(["person", "timer"]), FEW),
            "project": FEW,
            "name": FEW,
            "tier": FEW,
            "type": TYPES,
            "operation_id": MAYBE,
            "component": MAYBE,
            "request_id": MAYBE,
            "pull": MAYBE,
        }
    ),
    max_size=30,
)
WANTED = st.builds(
    EventFilter,
    project=MAYBE,
    tier=MAYBE,
    environment=MAYBE,
    entity=MAYBE,
    component=MAYBE,
    actor=MAYBE | FEW.map("person:{}".format),
    type=st.none() | TYPES,
    operation=MAYBE,
    correlation=MAYBE,
    pull=MAYBE,
    inbox=MAYBE,
    since=st.none() | TIMES,
    until=st.none() | TIMES,
)
A_BODY = b'{"type":"added","amount":1}'
# A fixture's rows are gone with their transaction, so that it serves every example.
searching = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@searching
@given(ROWS, st.lists(WANTED, min_size=1, max_size=5), st.integers(1, 7))
def test_any_filters_find_on_sqlite_what_looking_finds(
    on_sqlite: Connection, rows: list[dict[str, Any]], wanted: list[EventFilter], size: int
) -> None:
    check_queries(on_sqlite, rows, [0] * len(rows), wanted, size)


@searching
@given(ROWS, st.randoms(use_true_random=False), st.lists(WANTED, min_size=1, max_size=5), st.integers(1, 7))
def test_any_filters_find_on_postgres_what_looking_finds(
    on_postgres: Connection, rows: list[dict[str, Any]], dice: Any, wanted: list[EventFilter], size: int
) -> None:
    transactions = [dice.randrange(3, 9) for _ in rows]
    check_queries(on_postgres, rows, transactions, wanted, size)


def check_queries(
    connection: Connection, rows: list[dict[str, Any]], transactions: list[int], wanted: list[EventFilter], size: int
) -> None:
    with connection.begin():
        for seq, (row, transaction) in enumerate(zip(rows, transactions, strict=True), 1):
            connection.execute(insert(events).values(**stored(connection, row, seq, transaction)))
        everything = pages(connection, EventFilter(), 1000)
        order = select(events.c.seq).order_by(events.c.xid, events.c.id)
        assert [each.seq for each in everything] == connection.execute(order).scalars().all()
        for each in wanted:
            heard = {found.request_id for found in everything if found.entity == each.pull} - {None}
            looked = [found for found in everything if wants(each, found) and is_of_pull(each, found, heard)]
            if each.entity is not None:
                looked.sort(key=lambda found: found.seq)
            assert pages(connection, each, size) == looked
        connection.get_transaction().rollback()  # type: ignore[union-attr]


def stored(connection: Connection, row: dict[str, Any], seq: int, transaction: int) -> dict[str, Any]:
    body = chain.seal(chain.Envelope(**row, kind=KIND, seq=seq, schema_v=1, event=Raw(A_BODY)))
    columns = {name: value for name, value in row.items() if name != "actor"}
    columns |= {"at": to_micros(row["at"]), "actor_kind": row["actor"].kind, "actor_name": row["actor"].name}
    columns |= {"seq": seq, "schema_v": 1, "prev_hash": b"", "hash": b"", "body": body}
    if connection.dialect.name == "postgresql":
        columns["xid"] = cast(literal(str(transaction), Text), Xid8())
    return columns


def pages(connection: Connection, wanted: EventFilter, size: int) -> list[Recorded]:
    found: list[Recorded] = []
    after = None
    while True:
        page = audit.page(connection, DECIDERS, wanted, limit=size, after=after, settled=None)
        if not page.items:
            return found
        found.extend(page.items)
        after = page.next


def is_of_pull(wanted: EventFilter, found: Recorded, heard: set[str | None]) -> bool:
    delivered = wanted.inbox is not None and found.entity == wanted.inbox and found.request_id in heard
    return wanted.pull is None or found.pull == wanted.pull or delivered


def wants(wanted: EventFilter, found: Recorded) -> bool:
    pairs: Sequence[tuple[Any, Any]] = (
        (wanted.project, found.project),
        (wanted.tier, found.tier),
        (wanted.environment, found.name),
        (wanted.entity, found.entity),
        (wanted.component, found.component),
        (wanted.type, found.type),
        (wanted.operation, found.operation_id),
        (wanted.correlation, found.request_id),
    )
    if any(value is not None and value != said for value, said in pairs):
        return False
    if wanted.actor not in (None, found.actor.name, f"{found.actor.kind}:{found.actor.name}"):
        return False
    return (wanted.since is None or wanted.since <= found.at) and (wanted.until is None or found.at < wanted.until)


def test_what_belongs_to_a_pull_request_is_found_by_indexes(on_sqlite: Connection) -> None:
    """However long the log is: no step of the plan walks through it."""
    statements: list[tuple[str, Any]] = []
    listen = (on_sqlite, "before_cursor_execute", lambda _c, _cursor, sql, given, *_: statements.append((sql, given)))
    event.listen(*listen)
    try:
        with on_sqlite.begin():
            pages(on_sqlite, EventFilter(pull="pr_guestbook_42", inbox="inbox_gitea/main"), 10)
            sql, given = next((sql, given) for sql, given in statements if "events_pull" in sql)
            plan = [row[-1] for row in on_sqlite.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)]
    finally:
        event.remove(*listen)
    looked = [step for step in plan if step.startswith(("SEARCH", "SCAN"))]
    assert len(looked) >= 4, plan
    assert not [step for step in looked if step.startswith("SCAN")], plan
    assert any("ix_events_pull (pull=?)" in step for step in looked), plan
    assert any("ix_events_request_id (request_id=?" in step for step in looked), plan

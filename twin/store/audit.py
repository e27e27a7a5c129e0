"""The log of events: filtered pages in commit order, the past of one entity, and the proof that nothing was changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Text,
    bindparam,
    cast,
    column,
    literal,
    select,
    tuple_,
)

from twin.domain.decider import fold
from twin.domain.errors import Invalid
from twin.domain.identity import Actor
from twin.ports.store import EventFilter, Finding, Page, Recorded, Verification
from twin.store import chain
from twin.store.audit_index import walk
from twin.store.audit_pull import among, of_pull
from twin.store.audit_span import EVERYTHING, Place, Span, spans
from twin.store.cursors import EventPosition, from_cursor, to_cursor
from twin.store.moments import from_micros, optional_micros, to_micros
from twin.store.tables import entities, events
from twin.store.transact import Deciders

_e = events.c
_position = select(_e.xid, _e.entity, _e.seq).where(_e.id == bindparam("id"))
_ACTOR_KINDS = ("person", "token", "pull_request", "timer", "twin", "operator")
# Not bound to the table, whose name gets an addition on SQLite.
_c = {each.name: column(each.name, each.type) for each in _e}
_page = select(*_c.values())


def page(
    connection: Connection,
    deciders: Deciders,
    wanted: EventFilter,
    *,
    limit: int,
    after: str | None,
    settled: ColumnElement[bool] | None,
) -> Page:
    """One page of what the filter wants, `since` included and `until` not."""
    start = None if after is None else _known(connection, from_cursor(after, EventPosition))
    found = spans(connection, optional_micros(wanted.since), optional_micros(wanted.until))
    query = _page.where(*_times(wanted))
    if wanted.entity is not None and (start is None or start.entity == wanted.entity):
        # The entity's row is locked until its events are committed, so its own stream has no gaps to wait for.
        query = query.order_by(_c["seq"])
        if start is not None:
            query = query.where(_c["seq"] > start.seq)
        found = [Span(found[0].first, found[-1].last)] if found else []
    else:
        query = query.order_by(_c["xid"], _c["id"])
        if settled is not None:
            query = query.where(settled)
        if start is not None:
            found = [each.behind(Place(start.xid, start.id)) for each in found]
    narrowed = _on_sqlite if connection.dialect.name == "sqlite" else _on_postgres
    rows: list[Any] = []
    for within in found:
        if within.first <= within.last and len(rows) < limit:
            here = narrowed(connection, query, wanted, within).limit(limit - len(rows))
            rows.extend(connection.execute(here))
    items = tuple(_recorded(row, deciders) for row in rows)
    return Page(items=items, next=items[-1].cursor if items else None)


def _on_sqlite(connection: Connection, query: Select[Any], wanted: EventFilter, within: Span) -> Select[Any]:
    if wanted.pull is not None:
        table, conditions = among(of_pull(connection, wanted.pull, wanted.inbox), dict(_equals(wanted)), within)
        return query.select_from(table).where(*conditions)
    table, conditions = walk(connection, dict(_equals(wanted)), within)
    return query.select_from(table).where(*conditions)


def _on_postgres(connection: Connection, query: Select[Any], wanted: EventFilter, within: Span) -> Select[Any]:
    query = query.select_from(events).where(*(_c[name] == value for name, value in _equals(wanted)))
    if wanted.pull is not None:
        query = query.where(_c["id"].in_(of_pull(connection, wanted.pull, wanted.inbox)))
    if within.first != EVERYTHING.first:
        query = query.where(_place >= _given(within.first))
    if within.last != EVERYTHING.last:
        query = query.where(_place <= _given(within.last))
    return query


_place = tuple_(_e.xid, _e.id)


def _given(place: Place) -> ColumnElement[Any]:
    # PostgreSQL has no cast from integers to xid8, only from text.
    return tuple_(cast(literal(str(place.xid), Text), _e.xid.type), literal(place.id, BigInteger))


def _equals(wanted: EventFilter) -> Iterator[tuple[str, str]]:
    values = {
        "project": wanted.project,
        "tier": wanted.tier,
        "name": wanted.environment,
        "entity": wanted.entity,
        "component": wanted.component,
        "type": wanted.type,
        "operation_id": wanted.operation,
        "request_id": wanted.correlation,
    }
    for name, value in values.items():
        if value is not None:
            yield name, value
    if wanted.actor is not None:
        kind, colon, name = wanted.actor.partition(":")
        if colon and kind in _ACTOR_KINDS:
            yield "actor_kind", kind
            yield "actor_name", name
        else:
            yield "actor_name", wanted.actor


def _known(connection: Connection, position: EventPosition) -> EventPosition:
    """Every cursor is an event's. After a restore it may be one that the copy does not have, or not in that place: what
    has been written since would be skipped without a word."""
    row = connection.execute(_position, {"id": position.id}).one_or_none()
    if row is None or tuple(row) != (position.xid, position.entity, position.seq):
        raise Invalid(
            "This cursor is of no event here: the database was restored from a copy since, or it is another one.",
            field="after",
            mend="Leave it out to begin at the start; `since` with the time of your last event makes that short.",
        )
    return position


def _times(wanted: EventFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.since is not None:
        yield _c["at"] >= to_micros(wanted.since)
    if wanted.until is not None:
        yield _c["at"] < to_micros(wanted.until)


def _recorded(row: Any, deciders: Deciders) -> Recorded:
    envelope = chain.unseal(row.body)
    body = bytes(envelope.event)
    decider = deciders.get(envelope.kind)
    return Recorded(
        entity=row.entity,
        seq=row.seq,
        at=from_micros(row.at),
        actor=Actor(row.actor_kind, row.actor_name),
        request_id=row.request_id,
        type=row.type,
        event=None if decider is None else decider.decode_event(body, row.schema_v),
        body=body,
        project=row.project,
        name=row.name,
        tier=row.tier,
        operation_id=row.operation_id,
        component=row.component,
        pull=row.pull,
        cursor=to_cursor(EventPosition(row.xid, row.id, row.entity, row.seq)),
    )


_STREAMED = {"yield_per": 500}
_stream = select(_e.body, _e.schema_v).where(_e.entity == bindparam("entity")).order_by(_e.seq)
_until = _stream.where((_e.at <= bindparam("until")) & (_e.seq <= bindparam("until_seq")))
_FOREVER = 2**63 - 1


def history(connection: Connection, decider: Any, entity: str, *, until: datetime | None, until_seq: int | None) -> Any:
    """The fold of the events up to a time and a number, both included."""
    bounds = {
        "entity": entity,
        "until": _FOREVER if until is None else to_micros(until),
        "until_seq": _FOREVER if until_seq is None else until_seq,
    }
    rows = connection.execute(_until, bounds, execution_options=_STREAMED)
    return fold(decider, (decider.decode_event(bytes(chain.unseal(row.body).event), row.schema_v) for row in rows))


_heads = select(entities.c.id, entities.c.seq, entities.c.head)
# Cast: in SQLite an intruder may leave a text where bytes or a number stood; it is to be found, not to be tripped on.
_casts = {"seq": BigInteger, "prev_hash": LargeBinary, "hash": LargeBinary, "body": LargeBinary}
_links: Select[Any] = select(
    *(cast(column, _casts[column.name]).label(column.name) if column.name in _casts else column for column in _e)
).order_by(_e.entity, _e.seq)


def verify(connection: Connection, entity: str | None) -> Verification:
    """Recompute the chains of one entity or all, in one snapshot and in constant memory per event.

    Finds changed, missing and inserted events, columns that say something else than what was hashed, and a snapshot
    that stands at another event than the log ends with.
    """
    if connection.dialect.name == "postgresql":  # SQLite reads one snapshot by itself
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    heads_query, links = _heads, _links
    if entity is not None:
        heads_query, links = heads_query.where(entities.c.id == entity), links.where(_e.entity == entity)
    rows = {row.id: row for row in connection.execute(heads_query)}
    findings: list[Finding] = []
    heads: dict[str, str] = {}
    count = 0
    current, seq, head = "", 0, chain.GENESIS
    for row in connection.execute(links, execution_options=_STREAMED):
        if row.entity != current:
            if current:
                heads[current] = head.hex()
                findings.extend(_against_entity(current, seq, head, rows.pop(current, None)))
            current, seq, head = row.entity, 0, chain.GENESIS
        count += 1
        findings.extend(Finding(entity=current, seq=row.seq, problem=problem) for problem in _broken(row, seq, head))
        seq, head = row.seq, bytes(row.hash)
    if current:
        heads[current] = head.hex()
        findings.extend(_against_entity(current, seq, head, rows.pop(current, None)))
    findings.extend(Finding(entity=id_, seq=0, problem="the entity has no events") for id_ in rows)
    return Verification(entities=len(heads) + len(rows), events=count, findings=tuple(findings), heads=heads)


def _broken(row: Any, seq: int, head: bytes) -> Iterator[str]:
    if row.seq != seq + 1:
        yield f"events {seq + 1} to {row.seq - 1} are missing"
    elif bytes(row.prev_hash) != head:
        yield "does not follow from the event before"
    if chain.link(bytes(row.prev_hash), bytes(row.body)) != bytes(row.hash):
        yield "the stored bytes are not those that were hashed"
    try:
        envelope = chain.unseal(row.body)
    except msgspec.MsgspecError as error:
        yield f"the stored bytes are no event: {error}"
        return
    said = {name: getattr(envelope, name) for name in chain.COLUMNS}
    said |= {"at": to_micros(envelope.at), "actor_kind": envelope.actor.kind, "actor_name": envelope.actor.name}
    for name, value in said.items():
        if getattr(row, name) != value:
            yield f"column {name} says {getattr(row, name)!r}, but {value!r} was hashed"


def _against_entity(entity: str, seq: int, head: bytes, row: Any) -> Iterator[Finding]:
    if row is None:
        yield Finding(entity=entity, seq=seq, problem="the entity's row is missing")
    elif row.seq != seq:
        yield Finding(entity=entity, seq=seq, problem=f"the log ends here, but the snapshot stands at {row.seq}")
    elif bytes(row.head) != head:
        yield Finding(entity=entity, seq=seq, problem="the snapshot follows from another event than this")

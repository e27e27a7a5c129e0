"""Which index an audit query walks on SQLite.

SQLite knows nothing of how common a value is, and would as soon walk a project's million events as the ten of an
operation. So the first steps along each index that could be walked are counted, a tenth of a millisecond for each.
PostgreSQL keeps such statistics by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextClause,
    bindparam,
    column,
    exists,
    func,
    literal_column,
    select,
    text,
)

from twin.store.audit_span import Span

ENTITY = "sqlite_autoindex_events_1"
"""SQLite's name for the index of UNIQUE (entity, seq)."""

POSITION, PROJECT = "ix_events_position", "ix_events_project"

_INDEXES = {
    "entity": ENTITY,
    "operation_id": "ix_events_operation_id",
    "request_id": "ix_events_request_id",
    "project": PROJECT,
    "name": "ix_events_name",
    "actor_name": "ix_events_actor",
    "component": "ix_events_component",
    "type": "ix_events_type",
    "tier": "ix_events_tier",
}
"""By column. Among common values the first is taken: a project's index decides the others without their rows."""

_MANY = 2000
"""No more are counted: to look at so many rows takes about five milliseconds."""
_FEW = 200
"""Another index could save nothing that is worth a look."""


def _count(name: str, index: str) -> Select[Any]:
    steps: Select[Any] = (
        select(literal_column("1")).select_from(indexed(index)).where(column(name) == bindparam("value"))
    )
    if index != ENTITY:
        steps = steps.where(column("xid") == 0)
    within = steps.where(column("id") >= bindparam("first"), column("id") <= bindparam("last"))
    return select(func.count()).select_from(within.limit(_MANY).subquery())


def indexed(index: str) -> TextClause:
    """The events, by one of their indexes."""
    return text(f"events INDEXED BY {index}")


_counts = {name: _count(name, index) for name, index in _INDEXES.items()}


def walk(
    connection: Connection, equals: Mapping[str, Any], span: Span
) -> tuple[TextClause, Sequence[ColumnElement[bool]]]:
    """The table with the index to walk for events with these values within the span, and the conditions."""
    chosen = _rarest(connection, equals, span)
    index = POSITION if chosen is None else _INDEXES[chosen]
    conditions = [column("id") >= span.first.id, column("id") <= span.last.id]
    if index != ENTITY:
        conditions.append(column("xid") == 0)  # as in every row: SQLite walks from and to (xid, id) only by xid
    for name, value in equals.items():
        beside = name not in (chosen, "entity") and name in _INDEXES and index != PROJECT
        conditions.append(_has(name, value) if beside else column(name) == value)
    return indexed(index), conditions


def _rarest(connection: Connection, equals: Mapping[str, Any], span: Span) -> str | None:
    names = [name for name in _INDEXES if name in equals]
    if len(names) < 2:
        return names[0] if names else None
    rarest, least = names[0], _MANY + 1
    for name in names:
        given = {"value": equals[name], "first": span.first.id, "last": span.last.id}
        count = connection.execute(_counts[name], given).scalar_one()
        if count < least:
            rarest, least = name, count
        if count <= _FEW:
            break
    return rarest


def _has(name: str, value: Any) -> ColumnElement[bool]:
    """Whether the event has the value, by the value's own index: the rows, which may be on the disk, are not read."""
    other = text(f"events AS other INDEXED BY {_INDEXES[name]}")
    mine = literal_column("other.id") == literal_column("events.id")
    return (
        exists()
        .where(literal_column(f"other.{name}") == value, literal_column("other.xid = 0"), mine)
        .select_from(other)
    )

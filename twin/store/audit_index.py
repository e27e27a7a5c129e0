"""Which index an audit query walks on SQLite.

SQLite knows nothing of how common a value is, and would as soon walk a project's million events as the ten of an
operation. So the first steps along each index that could be walked are counted, a tenth of a millisecond for each.
PostgreSQL keeps such statistics by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, TextClause, bindparam, column, func, literal_column, select, text

from twin.store.audit_span import Span

ENTITY = "sqlite_autoindex_events_1"
"""SQLite's name for the index of UNIQUE (entity, seq)."""

POSITION = "ix_events_position"

_INDEXES = {
    "entity": ENTITY,
    "operation_id": "ix_events_operation_id",
    "request_id": "ix_events_request_id",
    "project": "ix_events_project",
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


def to_walk(connection: Connection, equals: Mapping[str, Any], span: Span) -> str:
    """The name of the index for events with these values within the span."""
    columns = [name for name in _INDEXES if name in equals]
    if not columns:
        return POSITION
    rarest, least = columns[0], _MANY + 1
    for name in columns if len(columns) > 1 else ():
        given = {"value": equals[name], "first": span.first.id, "last": span.last.id}
        count = connection.execute(_counts[name], given).scalar_one()
        if count < least:
            rarest, least = name, count
        if count <= _FEW:
            break
    return _INDEXES[rarest]

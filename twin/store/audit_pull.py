"""What belongs to one pull request: the events that say so, and those of the deliveries that it has heard of.

When a delivery is taken nobody knows yet whom it is about. What it led to bears its id as request id, so that from the
pull request's own events the way back is known. All of it is found by indexes, and is as long as one pull request's
history, so that a page sorts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    TextClause,
    column,
    literal_column,
    select,
    text,
    union,
)

from twin.store.audit_index import ENTITY
from twin.store.audit_span import Span

Ids = Select[Any] | CompoundSelect[Any]


def of_pull(connection: Connection, pull: str, inbox: str | None) -> Ids:
    """The ids of its events."""
    sqlite = connection.dialect.name == "sqlite"

    def among_events(alias: str, index: str, wanted: str) -> Select[Any]:
        hint = f" INDEXED BY {index}" if sqlite else ""  # PostgreSQL knows by itself how many there are of each
        return select(literal_column(f"{alias}.{wanted}")).select_from(text(f"events AS {alias}{hint}"))

    own = among_events("own", "ix_events_pull", "id").where(literal_column("own.pull") == pull)
    if inbox is None:
        return own
    heard = among_events("heard", ENTITY, "request_id").where(
        literal_column("heard.entity") == pull, literal_column("heard.request_id").is_not(None)
    )
    delivered = among_events("delivered", "ix_events_request_id", "id").where(
        literal_column("delivered.entity") == inbox, literal_column("delivered.request_id").in_(heard)
    )
    return union(own, delivered)


def among(ids: Ids, equals: Mapping[str, Any], span: Span) -> tuple[TextClause, Sequence[ColumnElement[bool]]]:
    """On SQLite: the table and the conditions for the events among these, read by their numbers."""
    conditions: list[ColumnElement[bool]] = [
        column("id").in_(ids),
        column("id") >= span.first.id,
        column("id") <= span.last.id,
        *(column(name) == value for name, value in equals.items()),
    ]
    return text("events NOT INDEXED"), conditions

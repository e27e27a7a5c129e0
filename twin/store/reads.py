"""Queries of entities and operations outside of any transition."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select

from twin.domain.operations import Operation, OperationEnded
from twin.ports.store import EntityRow, OperationRow, Page
from twin.store.cursors import EntityPosition, OperationPosition, from_cursor, to_cursor
from twin.store.moments import from_micros, optional_moment
from twin.store.prepared import Prepared
from twin.store.tables import entities, operations
from twin.store.transact import Deciders

_n = entities.c
_by_id = Prepared(select(entities).where((_n.id == bindparam("id")) & (_n.kind == bindparam("kind"))))
_by_name = Prepared(
    select(entities)
    .where((_n.kind == bindparam("kind")) & (_n.project == bindparam("project")) & (_n.name == bindparam("name")))
    .order_by(_n.live.desc(), _n.created_at.desc(), _n.id.desc())
    .limit(1)
)
_with_project = select(operations, _n.project).join(entities, _n.id == operations.c.entity)
_operation = Prepared(_with_project.where(operations.c.id == bindparam("id")))
_of_entity = Prepared(
    _with_project.where((operations.c.entity == bindparam("entity")) & (operations.c.seq < bindparam("before")))
    .order_by(operations.c.seq.desc())
    .limit(bindparam("most"))
)
_LAST = 2**63 - 1

_body = msgspec.json.Decoder(Operation)
_end = msgspec.json.Decoder(OperationEnded)


def entity(connection: Connection, deciders: Deciders, kind: str, id_: str) -> EntityRow | None:
    """One entity by id."""
    row = _by_id.run(connection, {"kind": kind, "id": id_}).one_or_none()
    return None if row is None else _entity(row, deciders[kind])


def named(connection: Connection, deciders: Deciders, kind: str, project: str, name: str) -> EntityRow | None:
    """The live entity of that name, or else the newest that had it."""
    row = _by_name.run(connection, {"kind": kind, "project": project, "name": name}).one_or_none()
    return None if row is None else _entity(row, deciders[kind])


def entity_page(
    connection: Connection,
    deciders: Deciders,
    kind: str,
    *,
    project: str | None,
    tier: str | None,
    status: str | None,
    labels: dict[str, str] | None,
    live: bool,
    limit: int,
    after: str | None,
) -> Page:
    """One page of entities in the order of their ids; with `live` False, also those whose name is free again."""
    query = select(entities).where(_n.kind == kind).order_by(_n.id).limit(limit + 1)
    for column, value in ((_n.project, project), (_n.tier, tier), (_n.status, status)):
        if value is not None:
            query = query.where(column == value)
    if live:
        query = query.where(_n.live)
    for key, value in (labels or {}).items():
        query = query.where(_n.labels[key].as_string() == value)
    if after is not None:
        query = query.where(_n.id > from_cursor(after, EntityPosition).id)
    rows = connection.execute(query).all()
    items = tuple(_entity(row, deciders[kind]) for row in rows[:limit])
    return Page(items=items, next=to_cursor(EntityPosition(items[-1].entity)) if len(rows) > limit else None)


def _entity(row: Any, decider: Any) -> EntityRow:
    return EntityRow(
        entity=row.id,
        kind=row.kind,
        project=row.project,
        name=row.name,
        tier=row.tier,
        status=row.status,
        labels=row.labels,
        seq=row.seq,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
        state=decider.decode_state(row.snapshot, row.schema_v),
    )


def operation(connection: Connection, operation_id: str) -> OperationRow | None:
    """One operation by id."""
    row = _operation.run(connection, {"id": operation_id}).one_or_none()
    return None if row is None else _operation_row(row)


def operation_page(connection: Connection, entity_id: str, *, limit: int, after: str | None) -> Page:
    """One page of an entity's operations, the newest first."""
    before = _LAST if after is None else from_cursor(after, OperationPosition).seq
    rows = _of_entity.run(connection, {"entity": entity_id, "before": before, "most": limit + 1}).all()
    shown = rows[:limit]
    more = to_cursor(OperationPosition(shown[-1].seq)) if len(rows) > limit else None
    return Page(items=tuple(_operation_row(row) for row in shown), next=more)


def _operation_row(row: Any) -> OperationRow:
    return OperationRow(
        entity=row.entity,
        project=row.project,
        body=_body.decode(row.body),
        outcome=row.outcome,
        end=None if row.end is None else _end.decode(row.end),
        ended_at=optional_moment(row.ended_at),
    )

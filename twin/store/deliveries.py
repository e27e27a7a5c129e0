"""What webhooks delivered: kept once, handled in order, in the end without its body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from twin.ports.store import StoredDelivery
from twin.store.moments import from_micros, optional_moment, to_micros
from twin.store.prepared import Prepared
from twin.store.tables import deliveries

_n = deliveries.c
_known = Prepared(select(_n.id).where((_n.target == bindparam("target")) & (_n.id == bindparam("id"))))
_known_of_many = select(_n.id).where((_n.target == bindparam("target")) & _n.id.in_(bindparam("ids", expanding=True)))
_keep = Prepared(insert(deliveries))
_undone = Prepared(
    select(deliveries)
    .where((_n.target == bindparam("target")) & _n.handled_at.is_(None) & (_n.number > bindparam("after")))
    .order_by(_n.number)
    .limit(bindparam("most"))
)
_end = Prepared(
    update(deliveries)
    .where((_n.target == bindparam("of_target")) & (_n.number == bindparam("of_number")) & _n.handled_at.is_(None))
    .values(handled_at=bindparam("now"))
)
_with_body = (_n.target == bindparam("of_target")) & _n.handled_at.is_not(None) & _n.body.is_not(None)
_drop = Prepared(update(deliveries).where(_with_body & (_n.handled_at <= bindparam("until"))).values(body=None))
_oldest = Prepared(select(func.min(_n.handled_at).label("oldest")).where(_with_body))


def known(connection: Connection, target: str, ids: Sequence[str]) -> frozenset[str]:
    """Those that were kept before."""
    if len(ids) == 1:
        return frozenset(row.id for row in _known.run(connection, {"target": target, "id": ids[0]}))
    rows = connection.execute(_known_of_many, {"target": target, "ids": list(ids)})
    return frozenset(row.id for row in rows)


def keep(connection: Connection, kept: Sequence[StoredDelivery]) -> None:
    """Keep those that were not kept before."""
    if kept:
        _keep.run(connection, [_row(each) for each in kept])


def _row(delivery: StoredDelivery) -> dict[str, Any]:
    return {
        "target": delivery.target,
        "id": delivery.id,
        "number": delivery.number,
        "event": delivery.event,
        "headers": delivery.headers,
        "body": delivery.body,
        "taken_at": to_micros(delivery.taken_at),
        "handled_at": None,
    }


def undone(connection: Connection, target: str, limit: int, after: int) -> tuple[StoredDelivery, ...]:
    """Those not handled, in the order of their numbers."""
    rows = _undone.run(connection, {"target": target, "after": after, "most": limit})
    return tuple(_stored(row) for row in rows)


def end(connection: Connection, target: str, number: int, now: int) -> bool:
    """Mark one as handled; False if it is already."""
    return _end.run(connection, {"of_target": target, "of_number": number, "now": now}).rowcount > 0


def drop(connection: Connection, target: str, until: datetime) -> datetime | None:
    """Drop old bodies; when the oldest was handled that still has one."""
    _drop.run(connection, {"of_target": target, "until": to_micros(until)})
    return optional_moment(_oldest.run(connection, {"of_target": target}).scalar())


def _stored(row: Any) -> StoredDelivery:
    return StoredDelivery(
        target=row.target,
        id=row.id,
        number=row.number,
        event=row.event,
        headers=row.headers,
        body=None if row.body is None else bytes(row.body),
        taken_at=from_micros(row.taken_at),
        handled_at=optional_moment(row.handled_at),
    )

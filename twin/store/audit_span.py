"""Where in the log the events of a time stand, so that a query by time reads them and not the whole log.

The log is in the order of commits, and clocks may have been set back: nothing is derived from an order of times. An
index has the events by quarters of a day (six hours); the first and the last event of each quarter that the time
touches are looked up, about five microseconds each, so that a year takes 10 ms and a day nothing to speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    true,
)

from twin.store.tables import QUARTER, Xid8, events

_QUARTER_MICROS = int(QUARTER.rpartition("/")[2])
_FIRST, _LAST = -(2**63), 2**63 - 1


class Place(NamedTuple):
    """The place of an event in the log, comparable as the database compares it."""

    xid: int
    id: int


_BEGIN, _END = Place(0, 0), Place(2**63 - 1, 2**63 - 1)


class Span(NamedTuple):
    """The events from a place to a place, both included."""

    first: Place = _BEGIN
    last: Place = _END

    def behind(self, place: Place) -> Span:
        """What of it comes after a place."""
        return Span(max(self.first, Place(place.xid, min(place.id, _END.id - 1) + 1)), self.last)


EVERYTHING = Span()

_e = events.c
_number: ColumnElement[int] = literal_column(QUARTER, BigInteger)
_here = select(func.min(_number).label("number")).select_from(events).where(_number <= bindparam("last"))
# The quarters that have events, one after the other; each costs one look into the index. It is asked first whether the
# next one has any: SQLite calculates a number that it was not given from the row, which may be on the disk.
_quarters = _here.where(_number >= bindparam("first")).cte("quarter", recursive=True)
_one_more = _quarters.c.number + literal_column("1")
_there = exists().where(_number == _one_more, _one_more <= bindparam("last")).select_from(events).correlate(_quarters)
_later = _here.where(_number > _one_more).correlate(_quarters).scalar_subquery()
_next = case((_there, _one_more), else_=_later)
_quarters = _quarters.union_all(select(_next).where(_quarters.c.number.is_not(None)))
_UP, _DOWN = (_e.xid, _e.id), (_e.xid.desc(), _e.id.desc())


def _on_sqlite(which: Any, order: Sequence[Any]) -> Select[Any]:
    found = select(_e.id).where(_number == _quarters.c.number).order_by(*order).limit(1).correlate(_quarters)
    return select(which(found.scalar_subquery())).select_from(_quarters).where(_quarters.c.number.is_not(None))


def _on_postgres(order: Sequence[Any]) -> Select[Any]:
    one = select(_e.xid, _e.id).where(_number == _quarters.c.number).order_by(*order).limit(1).lateral("found")
    settled = func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8())
    found = select(one.c.xid, one.c.id, settled.label("settled")).select_from(_quarters.join(one, true()))
    return found.order_by(*(one.c.xid.desc(), one.c.id.desc()) if order is _DOWN else (one.c.xid, one.c.id)).limit(1)


_sqlite_first, _sqlite_last = _on_sqlite(func.min, _UP), _on_sqlite(func.max, _DOWN)
_postgres_first, _postgres_last = _on_postgres(_UP), _on_postgres(_DOWN)


def span(connection: Connection, since: int | None, until: int | None) -> Span | None:
    """The span that holds all events from `since` (included) until `until` (not); None if there are none.

    On PostgreSQL, also what transactions that are running now will commit in front of those that are seen.
    """
    if since is None and until is None:
        return EVERYTHING
    given = {
        "first": _FIRST if since is None else _quarter(since),
        "last": _LAST if until is None else _quarter(until - 1),
    }
    find = _found_on_sqlite if connection.dialect.name == "sqlite" else _found_on_postgres
    return find(connection, given, since is not None, until is not None)


def _quarter(at: int) -> int:
    """As both databases divide: towards zero."""
    return at // _QUARTER_MICROS if at >= 0 else -(-at // _QUARTER_MICROS)


def _found_on_sqlite(connection: Connection, given: dict[str, int], begins: bool, ends: bool) -> Span | None:
    first, last = EVERYTHING
    if begins:
        id_ = connection.execute(_sqlite_first, given).scalar()
        if id_ is None:
            return None
        first = Place(0, id_)
    if ends:
        id_ = connection.execute(_sqlite_last, given).scalar()
        if id_ is None:
            return None
        last = Place(0, id_)
    return Span(first, last)


def _found_on_postgres(connection: Connection, given: dict[str, int], begins: bool, ends: bool) -> Span | None:
    first, last = EVERYTHING
    if begins:
        row = connection.execute(_postgres_first, given).one_or_none()
        if row is None:
            return None
        first = min(Place(row.xid, row.id), Place(row.settled, 0))
    if ends:
        row = connection.execute(_postgres_last, given).one_or_none()
        if row is None:
            return None
        last = Place(row.xid, row.id)
    return Span(first, last)

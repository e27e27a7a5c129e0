"""Where in the log the events of a time stand, so that a query by time reads them and not the whole log.

The log is in the order of commits, and clocks may have been set back: nothing is derived from an order of times. An
index has the events by quarters of a day (six hours); the first and the last event of each quarter that the time
touches are looked up, about five microseconds each, so that a year takes 10 ms and a day nothing to speak of.
"""

from __future__ import annotations

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
_NEAR = 10_000
"""Events."""


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


def _on_sqlite() -> Select[Any]:
    here = select(_e.id).where(_number == _quarters.c.number).limit(1).correlate(_quarters)
    first, last = (here.order_by(*order).scalar_subquery() for order in (_UP, _DOWN))
    no: ColumnElement[int] = literal_column("0")
    return select(no, first, no, last).select_from(_quarters).where(_quarters.c.number.is_not(None))


def _on_postgres() -> Select[Any]:
    here = select(_e.xid, _e.id).where(_number == _quarters.c.number).limit(1)
    first, last = here.order_by(*_UP).lateral("first"), here.order_by(*_DOWN).lateral("last")
    both = _quarters.join(first, true()).join(last, true())
    return select(first.c.xid, first.c.id, last.c.xid, last.c.id).select_from(both)


_places_on_sqlite, _places_on_postgres = _on_sqlite(), _on_postgres()
_settled = select(func.pg_snapshot_xmin(func.pg_current_snapshot(), type_=Xid8()))


def spans(connection: Connection, since: int | None, until: int | None) -> list[Span]:
    """The spans, in order, that hold all events from `since` (included) until `until` (not).

    One, unless clocks went wrong by hours. On PostgreSQL, also all that transactions running now will commit.
    """
    if since is None and until is None:
        return [EVERYTHING]
    given = {
        "first": _FIRST if since is None else _quarter(since),
        "last": _LAST if until is None else _quarter(until - 1),
    }
    if connection.dialect.name == "sqlite":
        rows = connection.execute(_places_on_sqlite, given)
        return _joined([Span(Place(*row[:2]), Place(*row[2:])) for row in rows])
    running = Place(connection.execute(_settled).scalar_one(), 0)  # asked first: what commits in between is in both
    rows = connection.execute(_places_on_postgres, given)
    return _joined([*(Span(Place(*row[:2]), Place(*row[2:])) for row in rows), Span(running, EVERYTHING.last)])


def _joined(found: list[Span]) -> list[Span]:
    """In order, without overlaps, and as one where so little lies between that it is read as quickly as jumped over."""
    joined: list[Span] = []
    for each in sorted(found):
        before = joined[-1] if joined else None
        if before is None or (each.first > before.last and each.first.id - before.last.id > _NEAR):
            joined.append(each)
        else:
            joined[-1] = Span(before.first, max(before.last, each.last))
    return joined


def _quarter(at: int) -> int:
    """As both databases divide: towards zero."""
    return at // _QUARTER_MICROS if at >= 0 else -(-at // _QUARTER_MICROS)

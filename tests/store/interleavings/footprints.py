"""What one statement touches, and which two statements of different transactions must not be swapped unseen.

A plain read sees only what is committed, so it meets another transaction at its COMMIT alone; locks and writes meet
each other at once. Coarser than the truth where the text does not tell the rows: that costs schedules, never misses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

Touched = frozenset[tuple[str, str]]
"""Pairs (table, row): the row is an entity, a key, or `*` for any."""

ANY = "*"
_NOTHING: Touched = frozenset()
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN)\s+(?!SET\b|SKIP\b|OF\b)(\w+)")
_ROW = {
    "entities": ("id", "of_id"),
    "events": ("entity",),
    "operations": ("of_id", "id"),
    "tasks": ("entity", "of_entity"),
    "blocks": ("key", "of_key"),
    "secrets": ("entity", "of_entity"),
}


class Step(Struct, frozen=True, kw_only=True):
    """One statement, or the end of a transaction, which `locks` all that the transaction has locked or written."""

    text: str
    reads: Touched = _NOTHING
    locks: Touched = _NOTHING
    ends: bool = False


def statement(text: str, parameters: Any) -> Step:
    """The step of a statement as it goes to the database."""
    if "pg_try_advisory" in text or "pg_advisory" in text:
        values = parameters if isinstance(parameters, Mapping) else {}
        key = "/".join(str(values[name]) for name in sorted(values))
        return Step(text=text, locks=frozenset({("advisory", key)}))
    words = text.split(None, 1)[0].upper()
    tables = _TABLE.findall(text)
    if words == "SELECT" and not tables:
        return Step(text=text)  # the clock, NOTIFY
    found = frozenset((table, row) for table in tables for row in _rows(table, parameters))
    if words == "SELECT" and " FOR " not in text:
        return Step(text=text, reads=found)
    return Step(text=text, reads=found, locks=found)


def end(text: str, locked: Iterable[Touched]) -> Step:
    """COMMIT or ROLLBACK."""
    return Step(text=text, locks=_NOTHING.union(*locked), ends=True)


def dependent(one: Step, other: Step) -> bool:
    """Whether the order of these steps of two transactions may matter."""
    if one.ends and other.ends:
        return False
    if one.ends:
        return _meet(one.locks, other.reads | other.locks)
    if other.ends:
        return _meet(other.locks, one.reads | one.locks)
    return _meet(one.locks, other.locks)


def _rows(table: str, parameters: Any) -> Iterable[str]:
    sets: Iterable[Mapping[str, Any]] = parameters if isinstance(parameters, list | tuple) else (parameters,)
    names = _ROW.get(table, ())
    rows = {
        str(value)
        for each in sets
        if isinstance(each, Mapping)
        for name, value in each.items()
        if name.split("__")[0] in names
    }
    return rows or {ANY}


def _meet(some: Touched, others: Touched) -> bool:
    return any(
        table == other and (row == another or ANY in (row, another)) for table, row in some for other, another in others
    )

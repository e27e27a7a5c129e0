"""Events as a table for spreadsheets, which must not run what a cell says."""

from __future__ import annotations

import csv
import io

import msgspec

from twin.service.views import EventView

_COLUMNS = (
    "at",
    "project",
    "name",
    "tier",
    "environment",
    "seq",
    "type",
    "component",
    "actor",
    "summary",
    "operation_id",
    "request_id",
    "id",
    "data",
    "pull",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def row(event: EventView) -> bytes:
    """One event as one line."""
    values = {
        **{name: getattr(event, name) for name in _COLUMNS},
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "data": msgspec.json.encode(event.data).decode(),
    }
    return _line([_safe(values[name]) for name in _COLUMNS])


def _safe(value: object) -> str:
    """A spreadsheet takes what begins like a formula for one: https://owasp.org/www-community/attacks/CSV_Injection"""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: list[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode()


HEADER = _line(list(_COLUMNS))

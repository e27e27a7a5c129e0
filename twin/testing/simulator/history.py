"""The history of a broken run, for a person: the events of the twin that it is about, and the faults between them."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from twin.store import chain
from twin.testing.simulator.journal import Journal, clock_face

_EVENTS = "SELECT at, seq, type, body FROM events WHERE entity = ? ORDER BY seq"
_BEGINNING = 1_767_225_600_000_000
_LONGEST = 150
_DULL = {"type", "at", "placement", "deadline", "desired", "id", "project", "name", "operations", "uses", "first_at"}


def story(raw: sqlite3.Connection, journal: Journal) -> tuple[str, ...]:
    """Lines of time and happening, ending with the breach. `*` marks what the world did."""
    breach = journal.breach
    if breach is None:
        return ()
    told: list[tuple[float, str]] = []
    for at, seq, kind, body in raw.execute(_EVENTS, (breach.entity or "",)):
        event = msgspec.json.decode(chain.unseal(body).event)
        told.append(((at - _BEGINNING) / 1_000_000, f"{seq:>4} {kind} {_words(event)}"))
    told += [(at, f"   * {text}") for at, entity, text in journal.entries if entity in (None, breach.entity)]
    told.sort(key=lambda line: line[0])  # stable: what happened at once stays in its order
    lines = [f"{clock_face(at):>17} {text}" for at, text in told if at <= breach.at]
    end = f"{clock_face(breach.at):>17} BROKEN: {breach.rule}: {breach.detail}"
    return (*lines, end)


def _words(event: dict[str, Any]) -> str:
    parts = []
    for name, value in event.items():
        if name in _DULL or value in (None, "", [], {}):
            continue
        if name == "key" and isinstance(value, dict):
            parts.append(f"{value['component']}@{value['incarnation']}:{value['verb']}:{value['digest'][:6]}")
        elif name == "operation" and isinstance(value, dict):
            parts.append(f"{value['signal']} {msgspec.json.encode(value['arguments']).decode()} = {value['id']}")
        elif isinstance(value, dict | list):
            parts.append(f"{name}={msgspec.json.encode(value).decode()}")
        else:
            parts.append(f"{name}={value}")
    text = " ".join(parts)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

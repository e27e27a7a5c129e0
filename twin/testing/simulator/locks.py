"""The order of locks. SQLite has one writer and cannot show a deadlock; its statements show what would be locked."""

from __future__ import annotations

import re

from twin.testing.simulator.journal import Journal

_LOCKS = "SELECT entities.kind, entities.seq,"
_ENTITY = re.compile(rf"{re.escape(_LOCKS)}.*WHERE entities\.id = '([^']+)'", re.DOTALL)
_BEGINS = "INSERT INTO entities"
_WRITES = ("UPDATE tasks", "DELETE FROM tasks", "INSERT INTO tasks")


class Locks:
    """Hears every statement of a transaction. Twins are locked in the order of their ids, each before any task is
    written, so that two transactions never wait for each other. Inboxes come after all else, and for short: whatever is
    delivered meanwhile waits. For one that begins in this transaction nobody can wait: a clone is created after its
    source."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last = ""
        self._task = ""
        self._wrong: dict[str, str] = {}

    def begin(self) -> None:
        """Another transaction: nothing is locked."""
        self._last = self._task = ""
        self._wrong = {}

    def heard(self, statement: str) -> None:
        """See `sqlite3.Connection.set_trace_callback`, which lets nothing be raised."""
        if statement.startswith(_WRITES):
            self._task = statement
        elif statement.startswith(_LOCKS) and (found := _ENTITY.match(statement)) is not None:
            entity = found[1]
            if _place(entity) < self._last or (self._task and entity.startswith("env_")):
                self._wrong[entity] = self._task[:60] if self._task else self._last
            self._last = max(self._last, _place(entity))
        elif statement.startswith(_BEGINS):
            self._wrong = {entity: before for entity, before in self._wrong.items() if entity not in statement}

    def end(self) -> None:
        """The transaction has committed. Raises `Broken`."""
        for entity, before in self._wrong.items():
            raise self._journal.broken("locks are taken in another order", f"{entity} after {before}", entity)


def _place(entity: str) -> str:
    """Comes where it is to be locked."""
    return f"~{entity}" if entity.startswith("inbox_") else entity

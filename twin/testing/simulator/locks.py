"""The order of locks. SQLite has one writer and cannot show a deadlock; its statements show what would be locked."""

from __future__ import annotations

import re

from twin.testing.simulator.journal import Journal

_LOCKS = "SELECT entities.kind, entities.seq,"
_ENTITY = re.compile(rf"{re.escape(_LOCKS)}.*WHERE entities\.id = '([^']+)'", re.DOTALL)
_WRITES = ("UPDATE tasks", "DELETE FROM tasks", "INSERT INTO tasks")


class Locks:
    """Hears every statement of a transaction. Twins are locked in the order of their ids, each before any task is
    written, so that two transactions never wait for each other."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last = ""
        self._task = ""
        self._wrong: tuple[str, str] | None = None

    def begin(self) -> None:
        """Another transaction: nothing is locked."""
        self._last = self._task = ""
        self._wrong = None

    def heard(self, statement: str) -> None:
        """See `sqlite3.Connection.set_trace_callback`, which lets nothing be raised."""
        if statement.startswith(_WRITES):
            self._task = statement
        elif statement.startswith(_LOCKS) and (found := _ENTITY.match(statement)) is not None:
            entity = found[1]
            if entity < self._last or (self._task and entity.startswith("env_")):
                self._wrong = (entity, self._task[:60] if self._task else self._last)
            self._last = entity

    def end(self) -> None:
        """The transaction has committed. Raises `Broken`."""
        if self._wrong is not None:
            entity, before = self._wrong
            raise self._journal.broken("locks are taken in another order", f"{entity} after {before}", entity)

"""Statements that run all the time, compiled once.

On SQLite a statement goes to the driver as it is: what SQLAlchemy does around an execution (looking up the compiled
form, collecting parameters, building a result) takes several times as long as SQLite itself. On PostgreSQL the round
trip outweighs that, and the usual way is kept.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, LargeBinary
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable

Given = dict[str, Any]
_tuple: Any = namedtuple  # mypy wants its fields as literals
_Process = Callable[[Any], Any] | None


class Answer(Protocol):
    """What came of a statement: of SQLAlchemy's result as much as is needed."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def all(self) -> Sequence[Any]:
        """All rows, with a name for each column."""
        ...

    def one_or_none(self) -> Any:
        """The only row."""
        ...

    def scalar(self) -> Any:
        """The first column of the first row, None if there is no row."""
        ...


class _Rows:
    """An answer of SQLite, read at once."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        return self._rows

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise ValueError(f"one row was expected, {len(self._rows)} came")
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None


class Prepared:
    """A statement whose text never changes: it has no IN with a list, and an INSERT always gets the same names."""

    __slots__ = ("_clause", "_compiled")

    def __init__(self, clause: Executable) -> None:
        self._clause: Any = clause
        self._compiled: _Compiled | None = None

    def run(self, connection: Connection, given: Given | Sequence[Given] = ()) -> Answer:
        """Run it with named values, or once for each of several. Raises what SQLAlchemy raises."""
        if connection.dialect.name != "sqlite":
            answer: Answer = connection.execute(self._clause, given or None)
            return answer
        if self._compiled is None:
            names = given if isinstance(given, dict) else given[0] if given else {}
            self._compiled = _Compiled(self._clause, connection.dialect, tuple(names))
        return self._compiled.run(connection.connection.driver_connection, given)


class _Compiled:
    """The text that SQLite gets, and how values go in and out."""

    def __init__(self, clause: Any, dialect: Dialect, names: Sequence[str]) -> None:
        compiled = clause.compile(dialect=dialect, column_keys=names if clause.is_insert else None)
        self._text = str(compiled)
        self._dialect = dialect
        required = {name for name, parameter in compiled.binds.items() if parameter.required}
        self._constants = {name: value for name, value in compiled.params.items() if name not in required}
        self._places = [(name, _binding(compiled.binds[name], dialect)) for name in compiled.positiontup or ()]
        columns = list(clause.exported_columns) if clause.is_dml or clause.is_select else []
        self._made = _tuple("row", [column.key for column in columns])._make
        self._processes = [
            (place, process)
            for place, column in enumerate(columns)
            if (process := column.type.dialect_impl(dialect).result_processor(dialect, None)) is not None
        ]

    def run(self, raw: Any, given: Given | Sequence[Given]) -> _Rows:
        try:
            if isinstance(given, dict):
                cursor = raw.execute(self._text, self._values(given))
            elif given:
                cursor = raw.executemany(self._text, [self._values(each) for each in given])
            else:
                cursor = raw.execute(self._text, self._values({}))
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise DBAPIError.instance(self._text, None, error, sqlite3.Error, dialect=self._dialect) from error
        return _Rows([self._row(row) for row in rows] if rows else rows, cursor.rowcount)

    def _values(self, given: Given) -> list[Any]:
        if self._constants:
            given = {**self._constants, **given}
        return [given[name] if process is None else process(given[name]) for name, process in self._places]

    def _row(self, row: Any) -> Any:
        if self._processes:
            row = list(row)
            for place, process in self._processes:
                row[place] = process(row[place])
        return self._made(row)


def _binding(parameter: Any, dialect: Dialect) -> _Process:
    if isinstance(parameter.type, LargeBinary):  # its process makes a view of bytes, which SQLite takes as they are
        return None
    process: _Process = parameter.type.dialect_impl(dialect).bind_processor(dialect)
    return process

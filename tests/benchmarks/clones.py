"""Multiplies what Twin made, in SQL: making a million environments one by one would take an hour and prove no more.

The rows are those of real environments; only ids, names and numbers differ. Their hash chains are those of the
original, so a file made here is for measuring, and does not verify.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """For writing much at once; nothing else may use the file."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA cache_size = -400000")
        yield connection
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The names of a table's columns."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


@contextmanager
def bulk(connection: sqlite3.Connection) -> Iterator[None]:
    """Many events at once: their indexes are made afterwards, in one go, and nothing looks twice at what stands before
    each row."""
    made = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'events' AND sql IS NOT NULL"
        " AND (type = 'index' OR name = 'events_no_replace')"
    ).fetchall()
    for kind, name, _ in made:
        connection.execute(f"DROP {kind} {name}")
    yield
    for _, _, sql in made:
        connection.execute(sql)


def _insert(connection: sqlite3.Connection, table: str, count: int, where: str, **given: str) -> None:
    names = [name for name in columns(connection, table) if not (table == "events" and name == "id")]
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(given.get(name, f't."{name}"') for name in names)
    # Out of a table of its own: SQLite would first put aside all that it reads from the table that it writes.
    connection.execute(f"CREATE TEMP TABLE original AS SELECT * FROM {table} WHERE {where}")
    connection.execute(
        COUNTING.format(count=count) + f"INSERT INTO {table} ({quoted}) SELECT {values} FROM n CROSS JOIN original t"
    )
    connection.execute("DROP TABLE original")


def environments(connection: sqlite3.Connection, original: str, count: int, *, first: int = 0) -> None:
    """So many more entities like the original."""
    identity = f"'env_' || printf('%026d', n.i + {first})"
    # The snapshot holds its own id and name: replaced by ones as long, so that it is as large.
    _insert(
        connection,
        "entities",
        count,
        f"id = '{original}'",
        id=identity,
        name=f"'e' || (n.i + {first})",
        snapshot=f"CAST(replace(CAST(t.snapshot AS TEXT), '{original}', {identity}) AS BLOB)",
    )


def histories(connection: sqlite3.Connection, original: str, count: int) -> None:
    """The events and operations of so many clones."""
    identity = "'env_' || printf('%026d', n.i)"
    with bulk(connection):
        _insert(connection, "events", count, f"entity = '{original}'", entity=identity, name="'e' || n.i")
    _insert(
        connection,
        "operations",
        count,
        f"entity = '{original}'",
        id="'op_' || printf('%026d', n.i)",
        entity=identity,
    )


def long_history(connection: sqlite3.Connection, entity: str, length: int) -> None:
    """Lengthen the history of one entity to so many events, repeating its own."""
    (seq,) = connection.execute("SELECT seq FROM entities WHERE id = ?", (entity,)).fetchone()
    if length <= seq:
        return
    names = [name for name in columns(connection, "events") if name != "id"]
    values = ", ".join({"seq": f"{seq} + n.i"}.get(name, f"t.{name}") for name in names)
    connection.execute(
        COUNTING.format(count=length - seq)
        + f"INSERT INTO events ({', '.join(names)}) SELECT {values} FROM n, events t "
        + "WHERE t.entity = ? AND t.seq = 1 + n.i % ? ORDER BY n.i",
        (entity, seq),
    )
    connection.execute(
        "UPDATE entities SET seq = ?, head = (SELECT hash FROM events WHERE entity = ? AND seq = ?) WHERE id = ?",
        (length, entity, length, entity),
    )

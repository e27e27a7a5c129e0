"""The floor of durability: commits of SQLite with `synchronous=FULL`, and nothing else.

python -m tests.benchmarks.floors DIRECTORY
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.benchmarks.load import percentile, spread

ROWS = 4
"""Rows per commit, about as many as a transition writes."""


def commits(directory: Path, *, seconds: float = 4.0) -> dict[str, float]:
    """Milliseconds per commit, and commits per second."""
    with closing(sqlite3.connect(directory / "floor.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, body BLOB)")
        took: list[float] = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(ROWS):
                connection.execute("INSERT INTO floor (body) VALUES (?)", (b"x" * 500,))
            connection.execute("COMMIT")
            took.append((time.perf_counter() - began) * 1000)
    return {
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
        "per_second": len(took) / seconds,
        "noise": spread(took),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"commits": commits(Path(sys.argv[1]))}) + "\n")

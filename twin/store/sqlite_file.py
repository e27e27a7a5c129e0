"""A SQLite file: the lock that keeps it for one process, and connections as we want them."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from twin.domain.errors import Unavailable


def lock_file(path: Path) -> int:
    """Take the lock beside the database, which ends with the process; the descriptor that holds it."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Unavailable(
            f"{path} is in use by process {owner}: a SQLite database serves one process at a time.",
            mend=f"Stop process {owner}, or use PostgreSQL for several.",
            code="database_in_use",
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a file that is there, for any one thread at a time; one that writes does so durably."""
    # isolation_level None: the driver never begins by itself, all BEGINs are ours.
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10.0,
    )
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # What a savepoint would undo is kept in memory: in a file, every page is written once more.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection

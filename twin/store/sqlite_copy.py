"""A copy of a SQLite file as of its last commit, made while others read and write it, or while nobody does.

VACUUM INTO and not the online backup: the copy is of one moment however long it takes, is as small as can be, and what
was deleted (the secrets of a destroyed environment) is not in its free pages.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from twin.domain.errors import Unavailable
from twin.store.sqlite_file import connect, lock_file


def copy(path: Path, to: Path) -> None:
    """Copy all that is committed into `to`, which is absent or empty. The file is written beside `path`'s other users;
    raises `Unavailable` if the disk or the database refuses, and then `to` holds nothing of use."""
    try:
        connection = connect(path, read_only=True)
        try:
            connection.execute("VACUUM INTO ?", (str(to),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise Unavailable(
            f"{path} cannot be copied to {to.parent}: {error}.", mend="Look at the space there."
        ) from error


def copy_stopped(path: Path, to: Path) -> None:
    """The same when no service runs; none can start meanwhile. Raises `Unavailable` if one has the file open."""
    lock = lock_file(path)
    try:
        connect(path).close()  # what a killed service left in the side file becomes part of the file
        copy(path, to)
    finally:
        os.close(lock)

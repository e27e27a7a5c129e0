"""The system account that PostgreSQL runs under when we are root, which it refuses to be."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from msgspec import Struct

from twin.domain.errors import Unavailable

_CANDIDATES = ("postgres", "nobody", "daemon")


class Account(Struct, frozen=True):
    """An unprivileged system account."""

    name: str
    uid: int
    gid: int


def unprivileged() -> Account | None:
    """The account to switch to; None when we are not root and stay who we are.

    Raises `Unavailable` when root finds none. It must have an entry in the password database: initdb looks it up.
    """
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Unavailable(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(_CANDIDATES)} exists.",
        mend="useradd --system postgres",
    )


def passable_directory(path: Path) -> Path:
    """Make `path` such that any account may pass through it and only its owner look inside."""
    path.mkdir(exist_ok=True)
    path.chmod(0o711)
    return path


def can_reach(directory: Path) -> bool:
    """Whether any account may pass through `directory` and all above it (the others' execute bit)."""
    return all(step.stat().st_mode & 0o001 for step in (directory, *directory.parents))

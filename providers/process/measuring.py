"""How much a fetched repository is: on the disk while it comes, and as files before they are written; and where its
links lead."""

from __future__ import annotations

import os
from pathlib import Path

MOST_FILES = 250_000
"""In one commit: trees may hold the same tree many times over, so that some kilobytes make millions of files."""


def on_disk(folder: Path) -> int:
    """Bytes of all files below; of what goes meanwhile, nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


class Inventory:
    """The files of a commit as `git ls-tree -r -l` lists them, counted line by line."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0

    def line(self, line: str) -> None:
        """`<mode> <type> <object> <size>\\t<path>`; a submodule has no size. Other lines are the rest of a path."""
        words = line.partition("\t")[0].split()
        if len(words) == 4:
            self.files += 1
            self.bytes += int(words[3]) if words[3].isdecimal() else 0


def stray_link(tree: Path) -> str | None:
    """A symbolic link below that leads out of the tree, by its place there; None if none does."""
    inside = os.path.realpath(tree)
    for root, folders, names in os.walk(tree):
        for name in (*folders, *names):
            path = os.path.join(root, name)
            if os.path.islink(path):
                end = os.path.realpath(path)
                if os.path.isabs(os.readlink(path)) or (end != inside and not end.startswith(inside + os.sep)):
                    return os.path.relpath(path, tree)
    return None

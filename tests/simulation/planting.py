"""Planting a bug in a copy of the sources, and looking for a life that finds it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

from tests.simulation.command import PROJECT, simulator

SIZE = ("--environments", "6", "--days", "2", "--pace", "0.3", "--jobs", "1", "--as-it-is")
SMALL = ("--environments", "2", "--days", "1.5", "--pace", "0.2", "--jobs", "1", "--as-it-is")
"""Of lives with pull requests, which are what happens there."""

BOUND = 40
"""So many seeds at most may be needed when the remembered one finds a bug no more, since all else has changed."""

_BROKEN = re.compile(r"seed (\d+):.*BROKEN: ([^:]+):")


class Edit(Struct, frozen=True):
    """One replacement; `old` stands exactly once in the file."""

    file: str
    old: str
    new: str


class Bug(Struct, frozen=True):
    """A bug, and the seed that found it; `faults` where few kinds find it sooner than all; `pulls`: of lives with so
    many pull requests."""

    name: str
    seed: int
    edits: tuple[Edit, ...]
    faults: str = "all"
    pulls: int = 0


class Catch(Struct, frozen=True):
    """The seed that found a bug, and the rule that it breaks."""

    seed: int
    rule: str


def plant(bug: Bug, tree: Path) -> None:
    """Copy the sources to `tree` with the bug in them, compiled as far as they are."""
    for part in ("twin", "alembic"):
        shutil.copytree(PROJECT / part, tree / part)
    for edit in bug.edits:
        path = tree / edit.file
        text = path.read_text()
        assert text.count(edit.old) == 1, f"{bug.name}: {edit.file} has changed; plant it anew at its new place"
        path.write_text(text.replace(edit.old, edit.new))
        for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
            stale.unlink()


def found(bug: Bug, seeds: Sequence[int]) -> Catch | None:
    """What the first of the seeds that finds the bug has found."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        plant(bug, Path(folder))
        done = _lives(bug.faults, bug.pulls, seeds, Path(folder))
    broken = _BROKEN.search(done.stdout)
    assert broken or done.returncode == 0, f"{bug.name}: {done.stdout[-500:]} {done.stderr[-1500:]}"
    return Catch(int(broken[1]), broken[2]) if broken else None


def hunt(bug: Bug) -> Catch | None:
    """First with the seed that is remembered, then with many."""
    return found(bug, [bug.seed]) or found(bug, range(1, BOUND + 1))


@cache
def without(faults: str, pulls: int, seed: int) -> str:
    """What is broken in the same life without any bug; empty if all holds."""
    done = _lives(faults, pulls, [seed], PROJECT)
    return "" if done.returncode == 0 else done.stdout[-3000:] + done.stderr[-1500:]


def _lives(faults: str, pulls: int, seeds: Sequence[int], tree: Path) -> subprocess.CompletedProcess[str]:
    size = SMALL if pulls else SIZE
    chosen = ("--seeds", f"{seeds[0]}..{seeds[-1]}", "--faults", faults, "--pulls", str(pulls))
    return simulator(*chosen, *size, tree=tree)


def one(name: str, seed: int, file: str, old: str, new: str, faults: str = "all", pulls: int = 0) -> Bug:
    """A bug of one edit."""
    return Bug(name, seed, (Edit(file, old, new),), faults, pulls)

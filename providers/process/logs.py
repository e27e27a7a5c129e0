"""Reading what replicas wrote: `<time> <text>` lines in `<index>-<digest>.log` and, before rotation, `.log.1`."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from twin.ports.provider import LogLine

POLL = 0.2  # seconds between looks for new lines while following
KEPT_PER_REPLICA = 2  # logs of the newest versions of a replica: the running one and the one before
_SLOT_LOG = re.compile(r"^(\d+)-[0-9a-f]+\.log$")


def tail(directory: Path, lines: int, slot: str | None = None) -> list[LogLine]:
    """The last `lines` lines of all replicas (or of one slot), oldest first."""
    merged: list[LogLine] = []
    for path in _files(directory):
        if slot is None or path.stem == slot:
            for part in (path.with_name(path.name + ".1"), path):
                merged.extend(_last(part, lines))
    merged.sort(key=lambda line: (line.at is not None, line.at.timestamp() if line.at else 0.0))  # stable
    return merged[-lines:] if lines > 0 else []


async def follow(directory: Path, lines: int) -> AsyncIterator[LogLine]:
    """The last lines, then each new one, for as long as the caller listens; also of replicas that start later."""
    places = {path: _Place(path, path.stat().st_ino, path.stat().st_size) for path in _files(directory)}
    for line in await asyncio.to_thread(tail, directory, lines):
        yield line
    while True:
        fresh: list[LogLine] = []
        for path in _files(directory):
            place = places.setdefault(path, _Place(path))
            fresh.extend(place.advance())
        fresh.sort(key=lambda line: line.at.timestamp() if line.at else 0.0)
        for line in fresh:
            yield line
        await asyncio.sleep(POLL)


def prune(directory: Path) -> None:
    """Keep the newest logs of each replica."""
    by_index: dict[str, list[Path]] = {}
    for path in _files(directory):
        by_index.setdefault(path.name.partition("-")[0], []).append(path)
    for paths in by_index.values():
        paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths[KEPT_PER_REPLICA:]:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".1").unlink(missing_ok=True)


class _Place:
    """How far one log has been read."""

    def __init__(self, path: Path, inode: int | None = None, offset: int = 0) -> None:
        self.path = path
        self.inode = inode
        self.offset = offset

    def advance(self) -> list[LogLine]:
        """The lines written since the last look, over a rotation too."""
        found: list[LogLine] = []
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:  # between the two steps of a rotation
            return found
        if self.inode is not None and inode != self.inode:
            found.extend(self._read(self.path.with_name(self.path.name + ".1")))
            self.offset = 0
        self.inode = inode
        found.extend(self._read(self.path))
        return found

    def _read(self, path: Path) -> list[LogLine]:
        try:
            with path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [_line(path, raw) for raw in whole.decode("utf-8", "replace").splitlines()]


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _SLOT_LOG.match(path.name))
    except FileNotFoundError:
        return []


def _last(path: Path, lines: int) -> list[LogLine]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            return [_line(path, raw.rstrip("\n")) for raw in deque(file, maxlen=max(lines, 0))]
    except FileNotFoundError:
        return []


def _line(path: Path, raw: str) -> LogLine:
    stamp, _, text = raw.partition(" ")
    source = f"replica {path.name.partition('-')[0]}"
    try:
        return LogLine(source=source, text=text, at=datetime.fromisoformat(stamp))
    except ValueError:
        return LogLine(source=source, text=raw)

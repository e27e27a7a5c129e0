"""Reading what replicas wrote: `<time> <text>` lines in `<index>-<digest>.log` and, before rotation, `.log.1`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from datetime import datetime
from io import FileIO
from pathlib import Path
from threading import Lock

from twin.ports.provider import LogLine

POLL = 0.2  # seconds between looks for new lines while following
KEPT_PER_REPLICA = 2  # logs of the newest versions of a replica: the running one and the one before
_SLOT_LOG = re.compile(r"^(\d+-[0-9a-f]+\.log)(\.1)?$")


def tail(directory: Path, lines: int, slot: str | None = None) -> list[LogLine]:
    """The last `lines` lines of all replicas (or of one slot), oldest first."""
    reader = _Reader(directory, slot)
    try:
        return _last(reader.read(lines), lines)
    finally:
        reader.close()


async def follow(directory: Path, lines: int) -> AsyncGenerator[LogLine, None]:
    """The last lines, then each new one once, for as long as the caller listens; also of replicas that start later.

    Lines are lost only to a listener who is slower than two rotations of a log.
    """
    reader = _Reader(directory)
    try:
        fresh = _last(await asyncio.to_thread(reader.read, lines), lines)
        while True:
            for line in fresh:
                yield line
            await asyncio.sleep(POLL)
            fresh = await asyncio.to_thread(reader.read)
    finally:
        reader.close()


def prune(directory: Path) -> None:
    """Keep the newest logs of each replica."""
    by_index: dict[str, list[Path]] = {}
    for path in _files(directory):
        by_index.setdefault(path.name.partition("-")[0], []).append(path)
    for paths in by_index.values():
        paths.sort(key=_written, reverse=True)
        for path in paths[KEPT_PER_REPLICA:]:
            path.unlink(missing_ok=True)
            path.with_name(path.name + ".1").unlink(missing_ok=True)


class _Reader:
    """What has been written to the logs of a directory since it was read last; the first time all that is kept."""

    def __init__(self, directory: Path, slot: str | None = None) -> None:
        self._directory = directory
        self._slot = slot
        self._places: dict[Path, _Place] = {}
        self._closed = False
        self._lock = Lock()  # a cancelled read goes on in its thread while the caller closes

    def read(self, most: int | None = None) -> list[LogLine]:
        """The lines, oldest first, of each file the last `most`; blocks."""
        with self._lock:
            if self._closed:
                return []
            paths = [path for path in _files(self._directory) if self._slot in (None, path.stem)]
            for gone in self._places.keys() - set(paths):
                self._places.pop(gone).close()
            found = [line for path in paths for line in self._places.setdefault(path, _Place(path)).advance(most)]
        found.sort(key=lambda line: (line.at is not None, line.at.timestamp() if line.at else 0.0))  # stable
        return found

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._closed = True
            for place in self._places.values():
                place.close()


class _Place:
    """How far one log has been read. It holds the file open: so a file that was rotated away is read to its end, and
    no other file can be taken for it (numbers of files are given anew)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def advance(self, most: int | None = None) -> list[LogLine]:
        """The lines written since the last look, over a rotation too; of each file the last `most`."""
        try:
            renamed = self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:  # between the two steps of a rotation: what comes is seen at the next look
            renamed = False
        if not renamed:
            return self._rest(most)
        current, older = _opened(self._path), _opened(self._path.with_name(self._path.name + ".1"))
        found = self._rest(most)  # complete: its writer is at the next one
        for file in (older, current):
            if file is None:
                continue
            if self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), os.fstat(file.fileno())):
                file.close()
                continue
            self.close()
            self._file = file
            found.extend(self._rest(most))
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rest(self, most: int | None) -> list[LogLine]:
        if self._file is None:
            return []
        start = self._file.tell()
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._file.seek(start + len(whole))
        lines = whole.split(b"\n")[:-1]
        if most is not None:
            lines = lines[max(0, len(lines) - most) :]
        return [_line(self._path, line.decode("utf-8", "replace")) for line in lines]


def _files(directory: Path) -> list[Path]:
    """The current log of each slot; it is not there itself for a moment in each rotation."""
    try:
        found = [_SLOT_LOG.match(path.name) for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted({directory / match[1] for match in found if match})


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it is just being rotated
        return float("inf")


def _opened(path: Path) -> FileIO | None:
    try:
        return FileIO(path)
    except FileNotFoundError:
        return None


def _last(found: list[LogLine], lines: int) -> list[LogLine]:
    return found[-lines:] if lines > 0 else []


def _line(path: Path, raw: str) -> LogLine:
    stamp, _, text = raw.partition(" ")
    source = f"replica {path.name.partition('-')[0]}"
    try:
        return LogLine(source=source, text=text, at=datetime.fromisoformat(stamp))
    except ValueError:
        return LogLine(source=source, text=raw)

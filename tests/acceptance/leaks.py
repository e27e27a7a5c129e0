"""Looking for secrets where none may be: in files, answers and command lines, in clear or thinly disguised."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from twin.vault.aead import AeadVault
from twin.vault.keys import load_keys

NAMES = ("system_user",)
"""What stands beside credentials and is no secret."""

_SHORTEST = 12
"""A shorter text may be anywhere by chance; every generated secret is longer."""


def vault_of(data: Path) -> dict[str, str]:
    """Every secret of the vault in a data directory, opened, by where it stands. The service may run meanwhile."""
    vault = AeadVault(load_keys(data / "vault.key", None))
    with contextlib.closing(sqlite3.connect(f"file:{data / 'twin.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT entity, component, version, name, sealed FROM secrets").fetchall()
    return {
        f"{entity} {component} {name} v{version}": vault.unseal(entity, component, version, name, sealed)
        for entity, component, version, name, sealed in rows
        if name not in NAMES and (entity, component) != ("platform", "vault")
    }


class Needles:
    """Secrets in every form in which they might be found."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self._forms: dict[bytes, str] = {}

    def add(self, secrets: Mapping[str, str]) -> None:
        """More secrets, by a name that may be told; of a URL also its password."""
        for name, value in secrets.items():
            password = urlsplit(value).password if "://" in value else None
            for part in filter(None, (value, password)):
                assert len(part) >= _SHORTEST, f"{name} is too short to be looked for"
                self.secrets.add(part)
                self._forms |= {form: f"{name} {how}" for how, form in _forms(part)}

    def within(self, place: bytes) -> set[str]:
        """The names of what is found there."""
        return {name for form, name in self._forms.items() if form in place}


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode()
    yield "in clear", raw
    yield "percent-encoded", quote(secret, safe="").encode()
    yield "as JSON", json.dumps(secret)[1:-1].encode()
    yield "in hex", raw.hex().encode()
    for shift, first in enumerate((0, 2, 3)):  # in the middle of another text all but the edges stays the same
        padded = base64.b64encode(b"\0" * shift + raw)
        core = padded[first : (shift + len(raw)) * 8 // 6]
        yield "in base64", core
        yield "in base64", core.replace(b"+", b"-").replace(b"/", b"_")


def files_below(*places: Path) -> Iterator[Path]:
    """All files, also those that are made or removed meanwhile."""
    for place in places:
        for folder, _, names in os.walk(place):
            paths = (Path(folder, name) for name in names)
            yield from (path for path in paths if path.is_file() and not path.is_symlink())


def read(path: Path) -> bytes:
    """The content; nothing of a file that is gone."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_bytes()
    return b""


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """Every command line that any process of the machine has while this is open, also of those that live shortly."""
    with watching() as seen:
        yield seen.commands


_FILES_EVERY = 5
"""Rounds of looking at processes for each at files: these do not come and go within milliseconds."""


class Seen:
    """What was to be seen of processes and files: `commands` are all command lines, `variables` the environments of
    processes by their command lines, `found` what stood in files, by path."""

    def __init__(self) -> None:
        self.commands: set[bytes] = set()
        self.variables: dict[bytes, set[bytes]] = {}
        self.readable: set[str] = set()
        self.found: dict[str, set[str]] = {}
        self.rounds = 0


@contextmanager
def watching(*places: Path, needles: Needles | None = None, learn: Callable[[], None] | None = None) -> Iterator[Seen]:
    """Look all the time, as fast as can be, at every process of the machine and at the files below `places`; `learn`
    adds to the needles whatever has become secret meanwhile."""
    seen = Seen()
    end = threading.Event()
    failures: list[Exception] = []
    known: dict[Path, tuple[int, int, int]] = {}

    def watch() -> None:
        try:
            while not end.is_set():
                _look_at_processes(seen, variables=needles is not None)
                seen.rounds += 1
                if needles is None or seen.rounds % _FILES_EVERY:
                    continue
                if learn is not None:
                    learn()
                for path in files_below(*places):
                    with contextlib.suppress(FileNotFoundError):
                        status = path.stat()
                        state = (status.st_mtime_ns, status.st_size, len(needles.secrets))
                        if known.get(path) != state and (names := needles.within(read(path))):
                            seen.found.setdefault(str(path), set()).update(names)
                        known[path] = state
        except Exception as failure:
            failures.append(failure)

    watcher = threading.Thread(target=watch, name="watcher")
    watcher.start()
    try:
        yield seen
    finally:
        end.set()
        watcher.join()
    if failures:
        raise failures[0]


def _look_at_processes(seen: Seen, *, variables: bool) -> None:
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = _bytes(f"/proc/{number}/cmdline")
            seen.commands.add(command)
            if variables:
                seen.variables.setdefault(command, set()).add(_bytes(f"/proc/{number}/environ"))
                if os.stat(f"/proc/{number}/environ").st_mode & 0o077:
                    seen.readable.add(command.decode(errors="replace"))


def _bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()

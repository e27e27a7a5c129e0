"""Looking for secrets where none may be: in files, answers and command lines, in clear or thinly disguised."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
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
    yield "in hex", raw.hex().encode()
    for shift, first in enumerate((0, 2, 3)):  # in the middle of another text all but the edges stays the same
        padded = base64.b64encode(b"\0" * shift + raw)
        core = padded[first : (shift + len(raw)) * 8 // 6]
        yield "in base64", core
        yield "in base64", core.replace(b"+", b"-").replace(b"/", b"_")


def files_below(*places: Path) -> Iterator[Path]:
    """All files, also those that are made or removed meanwhile."""
    for place in places:
        yield from (path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


def read(path: Path) -> bytes:
    """The content; nothing of a file that is gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """Every command line that any process of the machine has while this is open, also of those that live shortly."""
    seen: set[bytes] = set()
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.02):
            seen.update(_present())

    watcher = threading.Thread(target=watch, name="command-lines")
    watcher.start()
    try:
        yield seen
    finally:
        end.set()
        watcher.join()


def _present() -> Iterable[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()

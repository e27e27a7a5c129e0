"""Private files and directories: 0600 and 0700, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from providers.local.account import Account


class State(Struct, omit_defaults=True):
    """What one server's `state.json` remembers between processes.

    `pid` and `created` (seconds since the epoch, as psutil tells) name the process last started; `wanted` is whether
    it should be running, which tells a stopped server from a failed one. `name` is the server's stable name.
    """

    port: int | None = None
    pid: int | None = None
    created: float = 0.0
    wanted: bool = False
    version: str = ""
    name: str = ""


def private_directory(path: Path) -> Path:
    """Make `path` (and what is missing above) with mode 0700; one that exists keeps its mode."""
    if not path.exists():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace the file atomically with mode 0600, owned by `owner` if given."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if owner is not None:
            os.chown(fresh, owner.uid, owner.gid)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def secret_file(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
    """The secret in `path`, made on first use and the same ever after."""
    if not path.exists():
        write_private(path, make())
    return path.read_text()


def load_state(path: Path) -> State:
    """The state in `path`; an empty one if there is none yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()


def save_state(path: Path, state: State) -> None:
    """Keep `state` in `path`."""
    write_private(path, msgspec.json.encode(state).decode())


def last_lines(path: Path, count: int = 15) -> list[str]:
    """The end of a log file, oldest first; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []

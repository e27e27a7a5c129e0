"""Where a target keeps its files on a worker."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEPT_SECONDS = 14 * 86_400.0
_SHIM = """#!/bin/sh
exec "{python}" -u -m pulumi.dynamic "$@"
"""


class Layout:
    """One directory: `programs/` unpacked bundles by digest, `plugins/` Pulumi's home, `state/` the backend of files,
    `locks/`, `answers/` of humans about cut creates, `removals/` what the removals under way have found, `work/` of
    running attempts, `bin/` the plugin for dynamic providers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plugins = directory / "plugins"
        self.state = directory / "state"
        self.bin = directory / "bin"
        self._programs = directory / "programs"
        self._locks = directory / "locks"
        self._answers = directory / "answers"
        self._removals = directory / "removals"
        self._work = directory / "work"

    def prepare(self) -> None:
        """Make the directories, private: states and programs are nobody else's."""
        kept = (self._programs, self._locks, self._answers, self._removals, self._work)
        for path in (self.directory, self.plugins, self.state, self.bin, *kept):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        shim, wanted = self.bin / "pulumi-resource-pulumi-python", _SHIM.format(python=sys.executable)
        if not shim.exists() or shim.read_text() != wanted:
            write_private(shim, wanted, 0o700)

    def identity(self) -> str:
        """The random id of the backend of files, made at first contact: an emptied one has another."""
        path = self.state / "twin-identity"
        if not path.exists():
            draft = self.state / f".twin-identity-{secrets.token_hex(4)}"
            write_private(draft, secrets.token_hex(16))
            try:
                os.link(draft, path)  # fails if another worker was first; its value then stands
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text().strip()

    def program(self, digest: str) -> Path:
        """The directory of an unpacked bundle: `tree`, valid once `ready` is there."""
        return self._programs / digest.replace(":", "-")

    def remember(self, stack: str, digest: str) -> None:
        """Which bundle a stack was last applied from."""
        write_private(self._programs / f"{stack}.last", digest)

    def last_tree(self, stack: str) -> Path | None:
        """The bundle that a stack was last applied from, if it lies here."""
        try:
            root = self.program((self._programs / f"{stack}.last").read_text())
        except FileNotFoundError:
            return None
        return root / "tree" if (root / "ready").exists() else None

    def forget(self, stack: str) -> None:
        """Nothing more is known of a stack; bundles that nobody needs go too."""
        (self._programs / f"{stack}.last").unlink(missing_ok=True)
        (self._answers / f"{stack}.json").unlink(missing_ok=True)
        self.removal(stack).unlink(missing_ok=True)
        used = {self.program(path.read_text()).name for path in self._programs.glob("*.last")}
        for root in self._programs.iterdir():
            old = root.is_dir() and time.time() - root.stat().st_mtime > _KEPT_SECONDS
            if old and root.name not in used:
                shutil.rmtree(root, ignore_errors=True)

    def removal(self, stack: str) -> Path:
        """Where a removal keeps what it has found; the file is there while it goes on."""
        return self._removals / f"{stack}.json"

    def answers(self, stack: str) -> dict[str, str | None]:
        """What a human has found out about cut creates, by the resource's name."""
        try:
            found = json.loads((self._answers / f"{stack}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory for one child; what died here a day ago goes too."""
        for old in self._work.iterdir():
            if time.time() - old.stat().st_mtime > 86_400:
                shutil.rmtree(old, ignore_errors=True)
        folder = self._work / secrets.token_hex(8)
        for path in (folder, folder / "home", folder / "tmp"):
            path.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self, stack: str) -> Iterator[bool]:
        """The right to work on one stack from this machine, or False if another has it. The kernel gives it back when
        we die."""
        descriptor = os.open(self._locks / stack, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = True
            except BlockingIOError:
                mine = False
            yield mine
        finally:
            os.close(descriptor)


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that only we can read, whole or not at all."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

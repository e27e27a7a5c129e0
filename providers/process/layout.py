"""Where a target keeps its files. The path of an environment's directory is its mark."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from providers.process.account import Account
from twin.domain.identity import ComponentRef, EnvironmentId


class ServiceDirectory:
    """The files of one service.

    `slots/<index>-<digest>.lock` is held by the replica that runs there; `.json` says which processes it has, `.ready`
    that it was healthy once. `sources/<key>/tree` is the working directory, valid once `sources/<key>/ready` exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.slots = root / "slots"
        self.sources = root / "sources"
        self.logs = root / "logs"
        self.tmp = root / "tmp"
        self.record = root / "service.json"

    def prepare(self, account: Account | None = None) -> None:
        """Make the directories; private, since an app's files and logs are nobody else's. An account has the temporary
        one and can go to its sources; records, locks and logs stay ours."""
        for path in (self.root, self.slots, self.sources, self.logs, self.tmp):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            for path in (*self.root.parents[:3], self.root, self.sources):  # from the target's directory on
                account.admit(path)
            os.chown(self.tmp, account.uid, account.gid)


class Layout:
    """The directory of one target."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = directory / "ports"
        self._environments = directory / "environments"
        self._locks = directory / "locks"

    def prepare(self) -> None:
        """Make the directories that all services share."""
        for path in (self.directory, self.ports, self._environments, self._locks):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def service(self, ref: ComponentRef) -> ServiceDirectory:
        """The directory of one incarnation of a component."""
        return ServiceDirectory(self.environment(ref.environment) / ref.name)

    def environment(self, environment: EnvironmentId) -> Path:
        """The directory of all services of an environment."""
        return self._environments / environment

    def identity(self) -> str:
        """A random id made at the first contact: another directory, or an emptied one, has another."""
        return self._once("identity", secrets.token_hex(16))

    def key(self) -> bytes:
        """The key of the digests that tell whether an env has changed without keeping the env."""
        return bytes.fromhex(self._once("key", secrets.token_hex(32)))

    def _once(self, name: str, value: str) -> str:
        path = self.directory / name
        if not path.exists():
            self.prepare()
            draft = self.directory / f".{name}-{secrets.token_hex(4)}"
            write_private(draft, value)
            try:
                os.link(draft, path)  # fails if another worker was first; its value then stands
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text().strip()

    @contextmanager
    def lock(self, ref: ComponentRef) -> Iterator[bool]:
        """The right to change one service, or False if someone has it. The kernel gives it back when we die."""
        self.prepare()
        path = self._locks / ref.name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # who removed the service removed this file too: then the lock is of a file that nobody else sees
                mine = _same(descriptor, path)
            except BlockingIOError:
                mine = False
            yield mine
        finally:
            os.close(descriptor)

    def forget_lock(self, ref: ComponentRef) -> None:
        """Remove the lock's file; call it while holding the lock."""
        (self._locks / ref.name).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def delete(tree: Path) -> None:
    """Remove a directory with all in it, also what an app or a build has made unwritable; absent is success."""
    try:
        shutil.rmtree(tree)
    except FileNotFoundError:
        return
    except PermissionError:
        for folder, _, _ in os.walk(tree):  # top-down: each is opened before it is entered
            os.chmod(folder, 0o700)
        shutil.rmtree(tree)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

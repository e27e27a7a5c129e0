"""The accounts file: NATS keeps accounts and users as configuration, not as data.

One line per account, in JSON (which NATS's own format includes), followed by the mark of its owner as a comment; so
that one decoder reads it, and the server and the provider can never read two different things. Passwords are in it as
bcrypt hashes only.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from providers.nats.errors import file_failure
from twin.domain.errors import Blocked, Transient
from twin.domain.targets import Target

HEADER = "# Written by the twin: changes by hand are lost, other lines stop it.\n"
SEPARATOR = " # "

LOCK_PATIENCE = 30.0
"""Seconds to wait for other workers."""


class Subjects(Struct, frozen=True, omit_defaults=True):
    """Subjects that a user may or may not publish or subscribe to; without `allow`, all but the denied."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None


class Permissions(Struct, frozen=True, omit_defaults=True):
    """NATS's `permissions` of a user; what is not said is allowed."""

    publish: Subjects | None = None
    subscribe: Subjects | None = None


class User(Struct, frozen=True, omit_defaults=True):
    """A user; `password` is a bcrypt hash. `allowed_connection_types`, if given, bounds how it may log in."""

    user: str
    password: str
    permissions: Permissions | None = None
    allowed_connection_types: tuple[str, ...] | None = None


class JetStreamLimits(Struct, frozen=True):
    """One stream per account, which has its own bounds. No bytes are reserved here: an account that asks for more than
    the server has would keep the server from starting."""

    max_streams: int = 1


LIMITS = JetStreamLimits()
ADOPTING = JetStreamLimits(max_streams=2)
"""An account that is being put back over streams that outlived it; see `NatsProvider._ensure_account`."""


class Account(Struct, frozen=True):
    """An account as the server reads it."""

    users: tuple[User, ...]
    jetstream: JetStreamLimits | None = LIMITS
    mark: str = ""

    def user(self, name: str) -> User | None:
        """The user of that name, if it may log in."""
        return next((user for user in self.users if user.user == name), None)


class _Body(Struct, frozen=True, omit_defaults=True):
    """An account without its mark: what stands between the braces."""

    users: tuple[User, ...]
    jetstream: JetStreamLimits | None = None


class AccountsFile:
    """The file of a target. Everything here blocks for a moment only: the file is small and local."""

    def __init__(self, path: str, target: Target) -> None:
        self._path = Path(path)
        self._target = target

    def read(self) -> dict[str, Account]:
        """All accounts by name. Raises Blocked if the file cannot be read or holds what the twin did not write."""
        try:
            text = self._path.read_text()
        except OSError as error:
            raise file_failure(error, self._target, str(self._path)) from error
        accounts = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            body, _, mark = line.rpartition(SEPARATOR)
            try:
                ((name, account),) = msgspec.json.decode("{" + body + "}", type=dict[str, _Body]).items()
            except (msgspec.DecodeError, ValueError) as error:
                key = f"{self._target.name}/accounts-file"
                raise Blocked(
                    f"{self._target.name}: line {number} of {self._path} was not written by the twin.",
                    key=key,
                    mend=f"Move it to the server's own configuration, then: twin blocks resolve {key}",
                ) from error
            accounts[name] = Account(account.users, account.jetstream, mark)
        return accounts

    async def change(
        self,
        change: Callable[[dict[str, Account]], object],
        reload: Callable[[], Awaitable[None]],
        grace: Callable[[Mapping[str, Account]], AbstractAsyncContextManager[Mapping[str, Account]]],
    ) -> None:
        """Read, change and replace the file and have the server `reload` it, alone among the workers of this machine.

        Without a difference there is no reload, unless an earlier one is outstanding: the lock file is not empty from
        before the file is replaced until the server has taken it. A reload happens within `grace`, which is given the
        file as it was and gives what to put into it besides. Raises Blocked as `read` does or if the file cannot be
        replaced, Transient if others take too long, and what `reload` raises.
        """
        async with self._locked(fcntl.LOCK_EX) as lock:
            before = self.read()
            after = dict(before)
            change(after)
            if after == before and not os.fstat(lock).st_size:
                return
            async with grace(before) as besides:
                try:
                    os.pwrite(lock, b"reload outstanding", 0)
                    self._replace(after | dict(besides))
                except OSError as error:
                    raise file_failure(error, self._target, str(self._path)) from error
                await reload()
            os.ftruncate(lock, 0)

    def steady(self) -> AbstractAsyncContextManager[int]:
        """While nobody reloads: for a moment, a reloading server loses requests to JetStream and throws out whoever is
        logging in. Any number at once; raises as `change` does while waiting."""
        return self._locked(fcntl.LOCK_SH)

    def alone(self) -> AbstractAsyncContextManager[int]:
        """While nobody reloads and nobody is in `steady`: for what must not change between a look and an act."""
        return self._locked(fcntl.LOCK_EX)

    def _replace(self, accounts: dict[str, Account]) -> None:
        """Write beside it, then rename. Mode and owners stay, because the server may run as another user."""
        lines = [
            msgspec.json.encode({name: _Body(account.users, account.jetstream)}).decode()[1:-1]
            + SEPARATOR
            + account.mark
            for name, account in sorted(accounts.items())
        ]
        old = self._path.stat()
        handle, beside = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(HEADER + "".join(f"{line}\n" for line in lines))
                file.flush()
                if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
                    os.fchown(file.fileno(), old.st_uid if os.getuid() == 0 else -1, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise

    @asynccontextmanager
    async def _locked(self, kind: int) -> AsyncIterator[int]:
        """Hold the lock, which is a file of its own because the accounts file is replaced. Whoever wants it alone first
        takes the turn, so that those who share it and come one after the other do not keep it from him for ever."""
        with ExitStack() as files:
            try:
                lock, turn = (files.enter_context(_opened(f"{self._path}.{name}")) for name in ("lock", "turn"))
            except OSError as error:
                raise file_failure(error, self._target, str(self._path)) from error
            try:
                async with asyncio.timeout(LOCK_PATIENCE):
                    await _take(turn, kind)
                    await _take(lock, kind)
            except TimeoutError as error:
                raise Transient(f"{self._target.name}: another worker holds {self._path}.lock.") from error
            if kind == fcntl.LOCK_SH:
                fcntl.flock(turn, fcntl.LOCK_UN)
            yield lock


@contextmanager
def _opened(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


async def _take(handle: int, kind: int) -> None:
    """Polled, so that a cancelled step leaves no thread behind that takes the lock later."""
    while not _taken(handle, kind):  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.005)


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""Server processes that outlive whoever started them, and are found again by their command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from providers.local.account import Account

# The shell leaves at once, so the server belongs to init: it survives us, and nobody here has to reap it.
_DETACH = 'exec "$@" >&2 </dev/null & echo $!'

GIVEN = 3
"""The descriptor under which a server finds a listening socket that it is given."""

_GIVING = f"exec {GIVEN}<&0; "  # it comes as the shell's input, for its number may be higher than a shell can name


def launch(
    argv: Sequence[str],
    *,
    log: Path,
    directory: Path,
    account: Account | None = None,
    listening: socket.socket | None = None,
) -> psutil.Process | None:
    """Start a server in its own session with its output appended to `log`; None if it died at once."""
    script = _DETACH if listening is None else _GIVING + _DETACH
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        started = subprocess.run(  # noqa: S603 - our own argv, no shell expansion of it
            ["/bin/sh", "-c", script, "sh", *argv],
            stdin=subprocess.DEVNULL if listening is None else listening.fileno(),
            stdout=subprocess.PIPE,
            stderr=descriptor,
            cwd=directory,
            env=clean_environment(),
            start_new_session=True,
            umask=0o077,
            check=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    finally:
        os.close(descriptor)
    try:
        return psutil.Process(int(started.stdout))
    except psutil.NoSuchProcess:
        return None


def clean_environment() -> dict[str, str]:
    """What a server needs of our environment: nothing that could hold a secret or change its behaviour."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | {"LC_ALL": "C"}


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def find(argv: Sequence[str], pid: int | None, created: float) -> psutil.Process | None:
    """The living server with that command line: first where the state file says, else among all processes.

    The search matters when the starter was killed before it could write the state file: a second server on the same
    data must never come up. The command line holds the path of our own config, so it is proof enough; the time of
    creation only saves the search, since psutil derives it from the wall clock, which may be set.
    """
    if pid is not None:
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 2.0 and _is_server(process, argv):
                return process
        except psutil.Error:
            pass
    found = [process for process in psutil.process_iter() if _is_server(process, argv)]
    # A server's freshly forked child shows its parent's command line for a moment: the oldest is the server.
    return min(found, key=lambda process: process.create_time(), default=None)


def _is_server(process: psutil.Process, argv: Sequence[str]) -> bool:
    try:
        command = process.cmdline()
        return (
            len(command) == len(argv)
            and command[1:] == list(argv[1:])
            and Path(command[0]).name == Path(argv[0]).name
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def wait_until_none_works_in(directory: Path, *, seconds: float) -> bool:
    """Wait until no process has `directory` as its working directory; whether that came true in time."""
    until = time.monotonic() + seconds
    while any(_works_in(process, str(directory)) for process in psutil.process_iter()):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _works_in(process: psutil.Process, directory: str) -> bool:
    try:
        return process.cwd() == directory
    except psutil.Error:
        return False


def terminate(process: psutil.Process, with_signal: signal.Signals, *, patience: float) -> None:
    """Ask it to end, wait up to `patience` seconds, then kill it."""
    for attempt, seconds in ((with_signal, patience), (signal.SIGKILL, 5.0)):
        try:
            process.send_signal(attempt)
        except psutil.NoSuchProcess:
            return
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not is_alive(process):
                return
            time.sleep(0.02)

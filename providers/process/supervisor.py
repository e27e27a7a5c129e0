"""The parent of one replica: starts it at most once per slot, keeps its log, records how it ended.

Run as a file (`python -I -S supervisor.py SLOT`), with the standard library only: it starts fast, stays small, and
needs nothing of the worker, which it outlives. Its order comes by stdin, for it holds the app's secrets; an order cut
short by the worker's death is no order. The lock of the slot is taken before anything is started and is inherited by
the app, so no second replica can run in a slot while anything of the first is alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from io import FileIO
from typing import Any, NoReturn

LONGEST_LINE = 16 * 1024
LOG_BYTES = 1024 * 1024  # of the current file; one older file is kept beside it


def _private(path: str) -> FileIO:
    """A file to append to, for its owner alone whatever the umask: an app's words are nobody else's."""
    return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))


class Log:
    """A log file bounded by rotation. A full disk loses lines, never the app."""

    def __init__(self, path: str, hidden: list[str]) -> None:
        self.path = path
        self.hidden = hidden
        self.rest = b""
        self.file = _private(path)

    def take(self, data: bytes) -> None:
        """Write the whole lines of `data` and keep the rest for later."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.write(line)
        while len(self.rest) > LONGEST_LINE:
            self.write(self.rest[:LONGEST_LINE])
            self.rest = self.rest[LONGEST_LINE:]

    def write(self, line: bytes) -> None:
        """Write one line with its time, without what must not be shown."""
        text = line.decode("utf-8", "replace").rstrip("\r")
        for word in self.hidden:
            text = text.replace(word, "•••")
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError):
            self.file.write(f"{at} {text}\n".encode())
            if self.file.tell() > LOG_BYTES:
                self.file.close()
                os.replace(self.path, self.path + ".1")
                self.file = _private(self.path)

    def close(self) -> None:
        """Write the unfinished line."""
        if self.rest:
            self.write(self.rest)
        self.file.close()


def refuse(reason: str, message: str = "") -> NoReturn:
    """Say why nothing was started, and end."""
    report({"error": reason, "message": message})
    os._exit(1)


def report(answer: dict[str, Any]) -> None:
    """Answer the worker, which may be dead by now."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(answer).encode())


def take(path: str, flags: int = 0) -> int | None:
    """The descriptor of a locked file, None if someone holds it or it was removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def free_port(host: str, candidates: list[int], directory: str) -> int | None:
    """The first port that no other replica has reserved and nobody listens on."""
    for port in candidates:
        reservation = take(f"{directory}/{port}", os.O_CREAT)
        if reservation is None:
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be used again
            try:
                probe.bind((host, port))
            except OSError:
                os.close(reservation)
                continue
        return port  # `reservation` stays open, and so ours, until we end
    return None


def save(path: str, state: dict[str, Any]) -> None:
    """Replace the state file; if the service was removed meanwhile there is nothing to say."""
    with contextlib.suppress(OSError):
        draft = f"{path}.{os.getpid()}"
        with open(draft, "w") as file:
            json.dump(state, file)
        os.replace(draft, path)


def ended(app: subprocess.Popen[bytes]) -> bool:
    """Whether the app's first process has ended; whatever remains of its group then ends too."""
    if hasattr(os, "waitid"):
        # look before reaping: while the dead leader is there its number cannot belong to another group
        if os.waitid(os.P_PID, app.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
    elif app.poll() is None:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    return True


def supervise(app: subprocess.Popen[bytes], log: Log, woken: int) -> int:
    """Copy output to the log until the app ends; its exit code as a shell tells it (128 + signal)."""
    assert app.stdout is not None
    output = app.stdout.fileno()
    os.set_blocking(output, False)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        open_output = True
        while not ended(app):
            for key, _ in selector.select():
                if key.fd == woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                elif open_output and not copy(output, log):
                    open_output = False
                    selector.unregister(output)
    while open_output and copy(output, log, once=True):
        pass
    log.close()
    return app.returncode if app.returncode >= 0 else 128 - app.returncode


def copy(output: int, log: Log, *, once: bool = False) -> bool:
    """Move what can be read now; False at the end (or, with `once`, when nothing more is there)."""
    try:
        data = os.read(output, 65536)
    except BlockingIOError:
        return not once
    log.take(data)
    return bool(data)


def main() -> None:
    """Take the order, the slot and a port; leave the worker; start the app and stay with it."""
    try:
        order = json.loads(sys.stdin.buffer.read())
    except ValueError:
        os._exit(2)  # the worker died while it wrote
    slot = take(order["lock"])
    if slot is None:
        refuse("taken")
    port = free_port(order["host"], order["ports"], order["reservations"])
    if port is None:
        refuse("no-port")
    if os.fork():
        os._exit(0)  # the worker's child ends here; whoever adopts the rest is not the worker

    os.chdir("/")
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    # handlers, not SIG_IGN, which the app would inherit: who stops the replica signals the app as well
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    state_path, reservation = order["state"], f"{order['reservations']}/{port}"
    state = {
        "index": order["index"],
        "digest": order["digest"],
        "port": port,
        "supervisor": os.getpid(),
        "app": 0,
        "started": time.time(),
    }
    try:
        log = Log(order["log"], order["hidden"])
        app = subprocess.Popen(  # noqa: S603 - running it is the purpose
            order["command"],
            cwd=order["cwd"],
            env={**order["env"], "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(slot,),
            **order["as"],
        )
    except OSError as error:
        # a missing program and a missing working directory are the same errno; the file's name tells
        refuse("service" if error.filename in (order["cwd"], order["log"]) else "command", error.strerror or "")
    state["app"] = app.pid
    save(state_path, state)
    report({"port": port, "app": app.pid})
    order.clear()  # secrets stay only where the app keeps them
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    code = supervise(app, log, woken)
    save(state_path, state | {"exit": code, "ended": time.time()})
    with contextlib.suppress(OSError):
        os.unlink(reservation)  # still locked by us: `take` sees that a file it opened meanwhile is no longer there


if __name__ == "__main__":
    main()

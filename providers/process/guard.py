"""The parent of a command that must not outlive the worker: a build, a git.

Run as a file with the standard library only. The order is the first line of stdin; when stdin ends, the worker is dead
or no longer wants the result, and the command's process group is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys


def main() -> None:
    """Run the order's command with our stdout; exit as it did, 126 or 127 if it could not start, 137 if killed."""
    try:
        order = json.loads(os.fdopen(os.dup(0), "rb", buffering=0).readline())
    except ValueError:
        os._exit(2)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        child = subprocess.Popen(  # noqa: S603 - running it is the purpose
            order["command"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **order["as"],
        )
    except OSError as error:
        sys.stdout.write(f"{order['command'][0]}: {error.strerror}\n")
        sys.stdout.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while child.poll() is None:
            for key, _ in selector.select():
                if not os.read(key.fd, 4096):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                    os._exit(137)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left behind
    os._exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)


if __name__ == "__main__":
    main()

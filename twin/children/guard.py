"""The parent of a command that must not outlive the worker: a build, a git, a Pulumi program.

Run as a file with the standard library only. The order is the first line of stdin; when stdin ends, the worker is dead
or no longer wants the result, and the command is killed with all that it started. On Linux whatever leaves the
command's process group (plugins do) falls to us when its parent ends, and is found and killed too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_KILLING_SECONDS = 5.0


def main() -> None:
    """Run the order's command with our stdout; exit as it did, 126 or 127 if it could not start, 137 if killed."""
    try:
        order = json.loads(os.fdopen(os.dup(0), "rb", buffering=0).readline())
    except ValueError:
        os._exit(2)
    adopt_orphans()
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    bound(order["limits"])
    try:
        child = subprocess.Popen(  # noqa: S603 - running it is the purpose
            order["command"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL if order["input"] is None else subprocess.PIPE,
            stderr=None if order["apart"] else subprocess.STDOUT,
            start_new_session=True,
            **order["as"],
        )
    except OSError as error:
        sys.stdout.write(f"{order['command'][0]}: {error.strerror}\n")
        sys.stdout.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    if child.stdin is not None:
        threading.Thread(target=feed, args=(child, order["input"].encode()), daemon=True).start()
    order.clear()
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while child.poll() is None:
            for key, _ in selector.select():
                if not os.read(key.fd, 4096):
                    end(child)
                    os._exit(137)
    end(child)  # what it left behind
    os._exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)


def bound(limits: dict[str, int]) -> None:
    """Lower our own limits, which the command inherits: soft and hard, so that it cannot raise them."""
    for name, most in limits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):  # a system that knows the limit and cannot set it
            resource.setrlimit(which, (most, most))


def feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    """Give the command its input; one that ends without reading it has had enough."""
    assert child.stdin is not None
    with contextlib.suppress(OSError), child.stdin as pipe:
        pipe.write(data)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, where the system can do that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill the command's group, then whatever of it went elsewhere, until nothing is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    give_up = time.monotonic() + _KILLING_SECONDS
    while time.monotonic() < give_up:
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
        except ChildProcessError:
            return


def descendants() -> list[int]:
    """All live processes below us, by /proc; none where there is no such thing."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]  # its name may hold spaces
                    if state != b"Z":
                        children.setdefault(int(parent), []).append(int(name))
    found, queue = [], [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


if __name__ == "__main__":
    main()

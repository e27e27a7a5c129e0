"""`kill -9` of a server behind a target."""

from __future__ import annotations

import signal

import psutil

from providers.local import LocalServers
from providers.local.processes import is_alive
from tests.waiting import eventually


def kill(servers: LocalServers, kind: str) -> None:
    """With no chance to write anything; its children end by themselves."""
    (status,) = (each for each in servers.status() if each.kind == kind)
    assert status.pid is not None
    process = psutil.Process(status.pid)
    process.send_signal(signal.SIGKILL)
    eventually(lambda: not is_alive(process))

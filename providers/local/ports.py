"""Free TCP ports on the loopback, chosen once and then kept.

A component's placement records its endpoint, so a port that changes at every start would block every twin. Hence the
choice is made below the range from which systems take ports for outgoing connections (32768 and up on Linux): nothing
but another server can take ours while it is stopped.
"""

from __future__ import annotations

import secrets
import socket
import time

from twin.domain.errors import Unavailable

HOST = "127.0.0.1"

QUEUE = 1024
"""Connections that may wait to be accepted by a server that is given its socket."""

DEFERRED = 30
"""Seconds after which a connection is handed out although nothing was asked on it."""

PATIENCE = 3.0
"""Seconds in which a server that was killed lets go of its port: it counts as dead while its last threads still end,
and they hold it."""

_FIRST, _LAST = 15_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of the loopback now."""
    with socket.socket() as probe:
        # Servers set it too: without it a port is "taken" for a minute by connections in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def listening(port: int) -> socket.socket:
    """A socket for a server that does not open its own. Raises OSError.

    Where the system can, it hands out a connection once something was asked on it: one that a server has accepted is
    lost when that server is replaced before the request came.
    """
    made = socket.create_server((HOST, port), backlog=QUEUE)
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED)
    return made


def choose(remembered: int | None) -> int:
    """The remembered port if it is free, or becomes so in a moment, else a new one. Raises `Unavailable` if there is
    none."""
    if remembered is not None and _comes_free(remembered):
        return remembered
    for _ in range(200):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if is_free(port):
            return port
    raise Unavailable(f"No free TCP port on {HOST} between {_FIRST} and {_LAST}.")


def _comes_free(port: int) -> bool:
    until = time.monotonic() + PATIENCE
    while not is_free(port):
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True

"""Free TCP ports on the loopback, chosen once and then kept.

A component's placement records its endpoint, so a port that changes at every start would block every twin. Hence the
choice is made below the range from which systems take ports for outgoing connections (32768 and up on Linux): nothing
but another server can take ours while it is stopped.
"""

from __future__ import annotations

import secrets
import socket

from twin.domain.errors import Unavailable

HOST = "127.0.0.1"
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


def choose(remembered: int | None) -> int:
    """The remembered port while it is free, else a new one. Raises `Unavailable` if there is none."""
    if remembered is not None and is_free(remembered):
        return remembered
    for _ in range(200):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if is_free(port):
            return port
    raise Unavailable(f"No free TCP port on {HOST} between {_FIRST} and {_LAST}.")

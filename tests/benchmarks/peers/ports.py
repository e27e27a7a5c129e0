"""A port that nobody has."""

from __future__ import annotations

import socket


def free_port() -> int:
    """On loopback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

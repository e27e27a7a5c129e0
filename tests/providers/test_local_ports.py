"""Ports of local servers: kept, unless somebody else has them for good."""

from __future__ import annotations

import socket
import threading

from providers.local.ports import HOST, choose, listening


def taken() -> socket.socket:
    """A port below the range of outgoing connections, held."""
    return listening(choose(None))


def test_a_port_that_a_killed_server_still_holds_for_a_moment_is_kept() -> None:
    holder = taken()
    port = holder.getsockname()[1]
    letting_go = threading.Timer(0.3, holder.close)
    letting_go.start()
    assert choose(port) == port
    letting_go.join()


def test_a_port_that_another_server_has_is_given_up() -> None:
    with taken() as holder:
        port = holder.getsockname()[1]
        assert choose(port) != port
        assert holder.getsockname()[0] == HOST

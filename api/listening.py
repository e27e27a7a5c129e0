"""Where the service listens: taken before anything is started that others could see."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from twin.domain.errors import Unavailable

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@asynccontextmanager
async def listening(host: str, port: int) -> AsyncIterator[list[socket.socket]]:
    """Sockets of all addresses that the host has here, bound. Raises `Unavailable` if one is taken or none can be."""
    with ExitStack() as stack:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            places = [place for each in dict.fromkeys(found) if (place := _bound(stack, *each)) is not None]
            if not places:
                raise OSError(errno.EADDRNOTAVAIL, "this machine has no such address")
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "another process listens there" if taken else error.strerror or str(error)
            raise Unavailable(
                f"The twin cannot listen at {host}:{port}: {why}.",
                mend="twin serve --port 0 takes a free port; TWIN_PORT and TWIN_HOST choose another place.",
                code="no_place_to_listen",
            ) from error
        yield places


def _bound(
    stack: ExitStack, family: int, kind: int, protocol: int, _: str, address: tuple[object, ...]
) -> socket.socket | None:
    try:
        place = stack.enter_context(socket.socket(family, kind, protocol))
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            place.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        place.bind(address)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise
    return place

"""A TCP proxy before PostgreSQL that can strike at a COMMIT, before the server hears of it or after: it cuts the
connection there, and may do more."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Literal

When = Literal["before", "after"]
_BEGIN = b"BEGIN"
_COMMIT = b"COMMIT\0"


class Proxy:
    """Listens on `port`. `arm` cuts the connection of the `at`-th transaction that has sent `marker` when it commits,
    once; `strike` is called just before."""

    def __init__(self, host: str, port: int, strike: Callable[[], None] = lambda: None) -> None:
        self._server = (host, port)
        self._strike = strike
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.passed = 0
        self._armed: tuple[bytes, When, int] | None = None
        self._open: list[socket.socket] = []
        self._one = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, marker: bytes, when: When, at: int = 1) -> None:
        """From now on; `passed` begins anew to count the transactions with the marker. `at` 0 only counts."""
        with self._one:
            self._armed = (marker, when, at)
            self.passed = 0

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        for each in self._open:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                pair = _Pair(self, client, server)
                for run in (pair.up, pair.down):
                    threading.Thread(target=run, daemon=True).start()

    def fires(self, seen: bytes) -> When | None:
        """Whether a transaction that has sent this is the one."""
        with self._one:
            if self._armed is None or self._armed[0] not in seen:
                return None
            self.passed += 1
            marker, when, at = self._armed
            if self.passed != at:
                return None
            self._armed = (marker, when, 0)
            self.cuts += 1
            return when

    def strike(self) -> None:
        """What happens beside the cut."""
        self._strike()


class _Pair:
    """One connection, forwarded both ways."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._mute = False

    def up(self) -> None:
        """From the client to the server."""
        seen = b""
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                seen += data
                if _COMMIT in data:
                    when = self._proxy.fires(seen[seen.rfind(_BEGIN) :])
                    seen = b""
                    if when == "before":
                        self._proxy.strike()
                        break
                    if when == "after":
                        self._mute = True  # its answer shows that it has committed, and goes no further
                self._server.sendall(data)
        _end(self._server)
        _end(self._client)

    def down(self) -> None:
        """From the server to the client."""
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                if self._mute:
                    self._proxy.strike()
                    break
                self._client.sendall(data)
        _end(self._client)
        _end(self._server)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()

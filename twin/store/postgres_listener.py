"""Hears NOTIFY on a connection of its own. Only a hint: whoever waits also looks by himself from time to time."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

import psycopg

CHANNEL = "twin_tasks"

_RETRY_SECONDS = 5.0


class Listener:
    """A thread that rings a bell at every notification; sleeps in the kernel until then."""

    def __init__(self, conninfo: str, ring: Callable[[], None]) -> None:
        self._conninfo = conninfo
        self._ring = ring
        self._thread: threading.Thread | None = None
        self._stopped, self._stop = os.pipe()

    def start(self) -> None:
        """Begin to listen, unless it has begun already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="twin-postgres-listen", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop listening; closed already is success."""
        if self._stop < 0:
            return
        os.close(self._stop)  # the other end becomes readable: the thread wakes
        self._stop = -1
        if self._thread is not None:
            self._thread.join()
        os.close(self._stopped)

    def _run(self) -> None:
        stopped = False
        while not stopped:
            try:
                with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=10) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._ring()  # something may have come before we listened
                    stopped = self._hear(connection)
            except psycopg.Error:
                stopped = self._wait(_RETRY_SECONDS)

    def _hear(self, connection: psycopg.Connection[Any]) -> bool:
        """Ring until stopped (True) or the connection breaks."""
        while not self._wait(None, connection.fileno()):
            if any(True for _ in connection.notifies(timeout=0)):
                self._ring()
        return True

    def _wait(self, timeout: float | None, *also: int) -> bool:
        """Sleep until one of the descriptors has something; True if it is time to stop."""
        poll = select.poll()  # unlike select, it knows descriptors above 1023
        for descriptor in (self._stopped, *also):
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        return any(descriptor == self._stopped for descriptor, _ in ready)

"""The heartbeat: in its own thread, and silent when the event loop stands still."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import structlog

from twin.domain.errors import Unavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Heartbeat:
    """Calls `beat` every third of the lease, as long as the event loop has moved within half of it.

    A worker whose loop stands still (swapped out, SIGSTOP, a provider that blocks) must lose its lease, so that
    another may go on; a thread of its own would otherwise keep it alive.
    """

    def __init__(self, beat: Callable[[], None], lease: float) -> None:
        self._beat = beat
        self._every = lease / 3
        self._patience = lease / 2
        self._moved = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="twin-heartbeat", daemon=True)
        self._tick: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; must be called in the event loop that is watched."""
        self._move()
        self._thread.start()

    def stop(self) -> None:
        """End; blocks at most as long as one beat takes."""
        if self._tick is not None:
            self._tick.cancel()
        self._stop.set()
        self._thread.join()

    def _move(self) -> None:
        self._moved = time.monotonic()
        self._tick = asyncio.get_running_loop().call_later(min(1.0, self._every), self._move)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            if time.monotonic() - self._moved > self._patience:
                log.warning("no heartbeat: the event loop stands still")
                continue
            try:
                self._beat()
            except Unavailable as refusal:
                log.warning("no heartbeat: the database refuses", problem=refusal.message)

"""Hints to those who wait in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class LocalChanges:
    """See `twin.ports.changes.Changes`. With several processes on one database the others' changes are found by the
    waiter's own polling."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, set[asyncio.Event]] = defaultdict(set)

    def notify(self, entity: str) -> None:
        """Wake who waits for this entity or for any."""
        for name in (entity, None):
            for event in self._waiting.pop(name, ()):
                event.set()

    async def wait(self, entity: str | None, timeout: float) -> None:
        """Until the next change, at most `timeout` seconds."""
        event = asyncio.Event()
        self._waiting[entity].add(event)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting.get(entity)
            if waiting is not None:
                waiting.discard(event)
                if not waiting:
                    del self._waiting[entity]

"""Hints to those who wait in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class LocalWatch:
    """See `twin.ports.changes.Watch`."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def changed(self, timeout: float) -> None:
        """At once if something has changed already."""
        if not self._event.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._event.wait()
            except TimeoutError:
                pass
        self._event.clear()


class LocalChanges:
    """See `twin.ports.changes.Changes`. With several processes on one database the others' changes are found by the
    waiter's own polling."""

    def __init__(self) -> None:
        self._watched: dict[str | None, set[asyncio.Event]] = defaultdict(set)

    def notify(self, entity: str) -> None:
        """Wake who watches this entity or all."""
        for name in (entity, None):
            for event in self._watched.get(name, ()):
                event.set()

    @contextmanager
    def watch(self, entity: str | None) -> Iterator[LocalWatch]:
        """Nothing is kept once the watch ends."""
        event = asyncio.Event()
        self._watched[entity].add(event)
        try:
            yield LocalWatch(event)
        finally:
            self._watched[entity].discard(event)
            if not self._watched[entity]:
                del self._watched[entity]

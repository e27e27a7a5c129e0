"""The port to hints that something has changed, for those who wait: a hint may be missed, polling is the truth."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """Remembers from its beginning on whether something has changed, so that looking and waiting leave no gap."""

    async def changed(self, timeout: float) -> None:
        """Return once something has changed since this last returned, or since the watch began, or after `timeout`
        seconds."""
        ...


class Changes(Protocol):
    """Tells waiters in this process about transitions of entities."""

    def notify(self, entity: str) -> None:
        """An entity has changed."""
        ...

    def watch(self, entity: str | None) -> AbstractContextManager[Watch]:
        """Watch an entity (None: all). Begin before the look whose result decides whether to wait."""
        ...

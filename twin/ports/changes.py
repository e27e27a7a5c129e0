"""The port to hints that something has changed, for those who wait: a hint may be missed, polling is the truth."""

from __future__ import annotations

from typing import Protocol


class Changes(Protocol):
    """Tells waiters in this process about transitions of entities."""

    def notify(self, entity: str) -> None:
        """An entity has changed."""
        ...

    async def wait(self, entity: str | None, timeout: float) -> None:
        """Return at the next change of the entity (None: of any), or after `timeout` seconds."""
        ...

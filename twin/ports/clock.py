"""The port to time and randomness, so that tests and the simulator can own both."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time in UTC, fresh ids and jitter."""

    def now(self) -> datetime:
        """The current time, UTC."""
        ...

    def fresh_id(self, prefix: str) -> str:
        """A new unique id, `<prefix>_<ULID>`, sortable by time."""
        ...

    def jitter(self) -> float:
        """A random number, uniform in [0, 1)."""
        ...

"""A clock that moves only when told to: hours pass in a millisecond, and every run is the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from ulid import ULID

START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """See `twin.ports.clock.Clock`. Ids and jitter come from the seed."""

    def __init__(self, seed: int = 0, start: datetime = START) -> None:
        self._now = start
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose

    def now(self) -> datetime:
        """The virtual time."""
        return self._now

    def advance(self, span: timedelta | float) -> None:
        """Let time pass; a number is in seconds."""
        self._now += span if isinstance(span, timedelta) else timedelta(seconds=span)

    def move_to(self, moment: datetime) -> None:
        """Let time pass up to a moment; one that has passed changes nothing."""
        self._now = max(self._now, moment)

    def fresh_id(self, prefix: str) -> str:
        """`<prefix>_<ULID>` of the virtual time."""
        milliseconds = int(self._now.timestamp() * 1000)
        return f"{prefix}_{ULID(milliseconds.to_bytes(6, 'big') + self._random.randbytes(10))}"

    def jitter(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

"""The real clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from ulid import ULID


class SystemClock:
    """See `twin.ports.clock.Clock`."""

    def now(self) -> datetime:
        """The machine's time, UTC."""
        return datetime.now(UTC)

    def fresh_id(self, prefix: str) -> str:
        """`<prefix>_<ULID>`, sortable by time."""
        return f"{prefix}_{ULID()}"

    def jitter(self) -> float:
        """Uniform in [0, 1); spreads load, guards nothing."""
        return random.random()  # noqa: S311

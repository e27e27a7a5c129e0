"""Keeping a flood of the same thing out of the history: of many that come at once, the first few and a count."""

from __future__ import annotations

AT_ONCE = 5
EVERY = 60.0


class Floods:
    """Lets `AT_ONCE` of the same through, and then one every `EVERY` seconds. The sorts of things must be few."""

    def __init__(self) -> None:
        self._sorts: dict[str, tuple[float, float, int]] = {}

    def let(self, sort: str, now: float) -> int | None:
        """None if this one is kept out; else how many were since the last that was let through. `now` in seconds."""
        left, since, kept_out = self._sorts.get(sort, (float(AT_ONCE), now, 0))
        left = min(float(AT_ONCE), left + (now - since) / EVERY)
        if left < 1:
            self._sorts[sort] = (left, now, kept_out + 1)
            return None
        self._sorts[sort] = (left - 1, now, 0)
        return kept_out

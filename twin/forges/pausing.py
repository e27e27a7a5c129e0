"""Silence for as long as a forge has asked for it: until then nothing at all is sent, whatever it is for.

Each task that is refused waits for itself. But the next ones know nothing of it, and forges count against us what is
sent while they refuse: GitHub ends by banning whoever goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from twin.domain.errors import StepFailure, Transient
from twin.forges import failures


class Pause:
    """What one credential's client asks before each call. `clock` never goes back, in seconds."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._until = clock()

    def check(self) -> None:
        """Raise `Transient`, with what is left of it, while it lasts."""
        left = self._until - self._clock()
        if left > 0:
            raise failures.limited(self._name, timedelta(seconds=left))

    def heed(self, failure: StepFailure) -> StepFailure:
        """The same failure; if it says when to come again, it begins."""
        if isinstance(failure, Transient) and failure.retry_after is not None:
            self._until = max(self._until, self._clock() + failure.retry_after.total_seconds())
        return failure

"""How many steps may start on each target now: its concurrency, its rate, and the worker's free slots."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable

from twin.domain.targets import Target

_MINUTE = 60.0


class Limits:
    """Counts what runs in this worker; the store counts what other workers run on the same target."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._started: dict[str, deque[float]] = {}

    def free(self, targets: Iterable[Target], queues: Iterable[str]) -> dict[str, int]:
        """Per queue with due work, how many steps may be started now."""
        known = {target.name: target for target in targets}
        free: dict[str, int] = {}
        for queue in queues:
            target = known.get(queue, Target(name=queue, provider=""))
            slots = target.concurrency - self._running[queue]
            if target.rate:
                slots = min(slots, target.rate - len(self._recent(queue)))
            if slots > 0:
                free[queue] = slots
        return free

    def wait(self, targets: Iterable[Target]) -> float | None:
        """Seconds until a rate limit lets the next step start; None if no rate limit holds anything."""
        waits = [
            recent[0] + _MINUTE - time.monotonic()
            for target in targets
            if target.rate and len(recent := self._recent(target.name)) >= target.rate
        ]
        return max(0.0, min(waits)) if waits else None

    def started(self, queue: str) -> None:
        """A step begins."""
        self._running[queue] += 1
        self._started.setdefault(queue, deque()).append(time.monotonic())

    def ended(self, queue: str) -> None:
        """A step has come to its end."""
        self._running[queue] -= 1

    def _recent(self, queue: str) -> deque[float]:
        started = self._started.setdefault(queue, deque())
        while started and started[0] <= time.monotonic() - _MINUTE:
            started.popleft()
        return started

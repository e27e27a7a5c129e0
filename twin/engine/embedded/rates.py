"""How many steps this worker may start of each queue now, by its target's rate and so that queues share the worker's
slots. A target's concurrency, over all workers, is kept by the store where steps are claimed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping

from twin.domain.targets import Target

_MINUTE = 60.0


class Rates:
    """Counts the starts of the last minute per target, in this worker: `rate` bounds each worker by itself."""

    def __init__(self) -> None:
        self._started: dict[str, deque[float]] = {}

    def free(
        self, targets: Iterable[Target], queues: Iterable[str], most: int, running: Mapping[str, int]
    ) -> dict[str, int]:
        """Per queue with due work, how many steps may be started now, at most `most`: first the queues of which the
        fewest are `running`, then those that had their turn the longest ago, and of none so many that nothing is left
        for the next. However much there is to do at a place that answers slowly, the others are not kept waiting."""
        rates = {target.name: target.rate for target in targets if target.rate}
        turns = sorted(queues, key=lambda queue: (running.get(queue, 0), self._last(queue), queue))
        share = max(1, most - len(turns) + 1)
        room = {queue: min(share, rates[queue] - self._recent(queue)) if queue in rates else share for queue in turns}
        return {queue: slots for queue, slots in room.items() if slots > 0}

    def wait(self, targets: Iterable[Target]) -> float | None:
        """Seconds until a rate lets the next step start; None if none holds anything."""
        waits = [
            self._started[target.name][0] + _MINUTE - time.monotonic()
            for target in targets
            if target.rate and self._recent(target.name) >= target.rate
        ]
        return max(0.0, min(waits)) if waits else None

    def started(self, queue: str) -> None:
        """A step begins. Also told of targets without a rate: what is older than a minute goes with each."""
        self._recent(queue)
        self._started[queue].append(time.monotonic())

    def _last(self, queue: str) -> float:
        """When one was started; what was longer ago than a minute is forgotten."""
        started = self._started.get(queue)
        return started[-1] if started else 0.0

    def _recent(self, queue: str) -> int:
        started = self._started.setdefault(queue, deque())
        while started and started[0] <= time.monotonic() - _MINUTE:
            started.popleft()
        return len(started)

"""A burst of what GitHub delivers: several events of each of many pull requests, in its form and size."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator

from msgspec import Struct

from tests.api.webhooks.hooks import from_github, pull_request
from tests.benchmarks.bare_webhook import SECRET
from tests.benchmarks.http_client import Pool
from tests.benchmarks.load import percentile, spread

REPOSITORY = "acme/shop"
EVENTS = ("opened", "labeled", "synchronize", "edited")
"""Of each pull request."""

AT_ONCE = 20
BYTES = 22_000
"""About as many as GitHub's own examples of `pull_request` have."""


class Delivery(Struct, frozen=True):
    """One, signed."""

    pull: int
    guid: str
    headers: dict[str, str]
    body: bytes


def burst(pulls: int, host: str, *, name: str, home: int = 1) -> list[Delivery]:
    """Shuffled, and the same each time but for its name. `home`: the repository's id."""
    made = [_delivery(pull, action, host, name, home) for pull in range(1, pulls + 1) for action in EVENTS]
    random.Random(6).shuffle(made)
    return made


def _delivery(pull: int, action: str, host: str, name: str, home: int) -> Delivery:
    payload = pull_request(pull, REPOSITORY, host, home, action=action)
    payload["links"] = {each: f"https://{host}/{REPOSITORY}/{pull}/{each}{{/sha}}" for each in _links()}
    body = json.dumps(payload).encode()
    guid = f"{name}-{pull}-{action}"
    return Delivery(pull, guid, from_github(body, guid=guid, secret=SECRET), body)


def _links() -> Iterator[str]:
    size = 0
    while size < BYTES:
        yield (name := f"{size:05}_url")
        size += 2 * len(name) + 50


class Answers:
    """How long answers took, in milliseconds, over all bursts that were sent."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.rates: list[float] = []

    async def send(self, pool: Pool, deliveries: list[Delivery], *, at_once: int = AT_ONCE) -> None:
        """Each once, so many at a time."""
        left = iter(deliveries)

        async def client() -> None:
            for each in left:
                began = time.perf_counter()
                status, answer = await pool.post("/webhooks/github/main", each.body, each.headers)
                self.took.append((time.perf_counter() - began) * 1000)
                if status != 202:
                    raise RuntimeError(f"{status}: {answer[:500]!r}")

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(at_once)))
        self.rates.append(len(deliveries) / (time.perf_counter() - began))

    def told(self) -> dict[str, float]:
        """Middle and tail of all; the rate of the middle burst."""
        return {
            "p50_ms": percentile(self.took, 0.5),
            "p99_ms": percentile(self.took, 0.99),
            "per_second": percentile(self.rates, 0.5),
            "noise": spread(self.rates),
            "answers": len(self.took),
        }

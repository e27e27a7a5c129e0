"""(k) Signals per second on PostgreSQL with 1, 2 and 4 workers, and how often a session waited for a lock.

    python -m tests.benchmarks.workers DIRECTORY POSTGRES_URL [--workers 1,2,4] [--signals N]

The workers are processes that find a backlog of creations, one step each, and do it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import postgres
from tests.benchmarks.served import Served
from tests.benchmarks.subject import open_twin

WAITS = """SELECT coalesce(wait_event_type, 'running') FROM pg_stat_activity
    WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"""


async def sample(url: str, seen: Counter[str]) -> None:
    """Looks at what the sessions do, twenty times a second."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            cursor = await connection.execute(WAITS)
            seen.update(str(kind) for (kind,) in await cursor.fetchall())
            await asyncio.sleep(0.05)


async def measure(directory: Path, url: str, number: int, told: argparse.Namespace) -> dict[str, Any]:
    """With so many workers."""
    database = postgres.database(url, f"bench_{number}")
    seen: Counter[str] = Counter()
    workers: list[Served] = []
    async with open_twin(database, work=False) as twin:
        began = time.perf_counter()
        for each in range(told.signals):
            await twin.ask(f"e{each}")
        accepted = told.signals / (time.perf_counter() - began)
        sampling = asyncio.create_task(sample(database, seen))
        try:
            for each in range(number):
                place = directory / f"worker-{number}-{each}"
                place.mkdir(mode=0o700)
                environ = {"TWIN_DATABASE_URL": database, "TWIN_VAULT_KEY": KEY}
                workers.append(Served(place, "tests.benchmarks.server", "worker", **environ))
            rate = await drained(database, told.signals)
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling
            for worker in workers:
                worker.end()
    total = sum(seen.values()) or 1
    return {
        "per_second": rate,
        "accepted_per_second": accepted,
        "lock_waits_share": seen["Lock"] / total,
        "samples": dict(seen),
    }


async def drained(url: str, signals: int) -> float:
    """Operations per second that came to their end, from the time when all workers were at it (a fifth was done)."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        first: tuple[float, int] | None = None
        until = time.perf_counter() + 120
        while time.perf_counter() < until:
            cursor = await connection.execute("SELECT count(*) FROM operations WHERE outcome IS NOT NULL")
            (done,) = await cursor.fetchone() or (0,)
            now = time.perf_counter()
            if first is None and done >= signals / 5:
                first = now, done
            if first is not None and done >= signals:
                return float((done - first[1]) / (now - first[0]))
            await asyncio.sleep(0.05)
    raise RuntimeError("the backlog does not shrink")


KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""The fixed key of `subject`; guards nothing."""


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--workers", default="1,2,4")
    arguments.add_argument("--signals", type=int, default=800)
    told = arguments.parse_args()
    found = {each: await measure(told.directory, told.url, int(each), told) for each in told.workers.split(",")}
    sys.stdout.write(json.dumps({"workers": found}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

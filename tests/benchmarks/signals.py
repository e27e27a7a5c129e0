"""(a) signal to result, (b) signals per second, (j) commits per signal: Twin in one process, as its peers are.

python -m tests.benchmarks.signals DIRECTORY [--signals N --entities N --at-once N --seconds S --warm S]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.load import in_flight, sequential
from tests.benchmarks.subject import Twin, open_twin
from twin.store import sqlite_writer


class Commits:
    """Counts the commits of the writer that had something to write."""

    def __init__(self) -> None:
        self.number = 0
        self._changes = 0
        self._commit = sqlite_writer.Writer._commit

    def __enter__(self) -> Commits:
        counts = self

        def commit(writer: Any, batch: Any) -> bool:
            woken = counts._commit(writer, batch)
            raw = sqlite_writer._raw(writer._connection)
            assert isinstance(raw, sqlite3.Connection)
            counts.number += raw.total_changes > counts._changes
            counts._changes = raw.total_changes
            return woken

        sqlite_writer.Writer._commit = commit  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        sqlite_writer.Writer._commit = self._commit  # type: ignore[method-assign]


async def measure(twin: Twin, told: argparse.Namespace) -> dict[str, Any]:
    """All three."""
    environments = [await twin.create(f"e{number}") for number in range(told.entities)]

    async def signal(entity: int) -> None:
        await twin.signal(environments[entity])

    with Commits() as commits:
        alone = await sequential(signal, count=told.signals)
        alone["commits_per_signal"] = commits.number / (told.signals + 20)
        before = commits.number
        loaded = await in_flight(
            signal, entities=told.entities, at_once=told.at_once, seconds=told.seconds, warm=told.warm
        )
        loaded["commits_per_second"] = (commits.number - before) / (told.seconds + told.warm)
        loaded["commits_per_signal"] = loaded["commits_per_second"] / loaded["per_second"]
    return {"sequential": alone, "loaded": loaded}


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--signals", type=int, default=300)
    arguments.add_argument("--entities", type=int, default=200)
    arguments.add_argument("--at-once", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=15.0)
    arguments.add_argument("--warm", type=float, default=3.0)
    told = arguments.parse_args()
    async with open_twin(f"sqlite:///{told.directory / 'twin.db'}") as twin:
        result = await measure(twin, told)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

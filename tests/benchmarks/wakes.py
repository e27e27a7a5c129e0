"""(e) What it costs to wake an entity by the length of its history: signal to result, one after the other, in turns.

python -m tests.benchmarks.wakes DIRECTORY [--lengths 10,1000,100000] [--signals N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from tests.benchmarks import clones
from tests.benchmarks.load import percentile, spread
from tests.benchmarks.subject import open_twin


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--lengths", default="10,1000,100000")
    arguments.add_argument("--signals", type=int, default=150)
    told = arguments.parse_args()
    lengths = [int(each) for each in told.lengths.split(",")]
    file = told.directory / "wakes.db"
    async with open_twin(f"sqlite:///{file}") as twin:
        ids = {length: await twin.create(f"e{length}") for length in lengths}
    with clones.opened(file) as connection:
        for length, entity in ids.items():
            clones.long_history(connection, entity, length)
    took: dict[int, list[float]] = {length: [] for length in lengths}
    async with open_twin(f"sqlite:///{file}", publish=False) as twin:
        for number in range(told.signals + 10):
            for length, entity in ids.items():
                began = time.perf_counter()
                await twin.signal(entity)
                if number >= 10:
                    took[length].append((time.perf_counter() - began) * 1000)
    result = {
        str(length): {"p50_ms": percentile(each, 0.5), "p99_ms": percentile(each, 0.99), "noise": spread(each)}
        for length, each in took.items()
    }
    sys.stdout.write(json.dumps({"lengths": result}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

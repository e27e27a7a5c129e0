"""(c) What a sleeping entity costs in memory, CPU and disk, and (d) start-up and first signal with all those asleep.

    python -m tests.benchmarks.sleepers DIRECTORY [--counts 2000,100000] [--histories N] [--starts N] [--idle S]

Beside `--counts`, the same is measured with one entity: the difference is what the sleepers cost.
A million with their histories would be 10 GB that no start reads: of the events, a tenth is made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import clones
from tests.benchmarks.http_client import Pool
from tests.benchmarks.load import percentile, spread
from tests.benchmarks.served import Served
from tests.benchmarks.subject import open_twin


async def seed(file: Path) -> str:
    """A file with one environment; its id."""
    async with open_twin(f"sqlite:///{file}") as twin:
        return await twin.create("one")


def sleeping(file: Path, original: str, count: int, histories: int) -> dict[str, float]:
    """Fill the file; bytes per entity without and with its history, which so many at most get."""
    with clones.opened(file) as connection:
        connection.execute("VACUUM")
        empty = file.stat().st_size
        clones.environments(connection, original, count)
        without = file.stat().st_size
        told = min(count, histories)
        clones.histories(connection, original, told)
        whole = file.stat().st_size
    return {
        "bytes": (without - empty) / count,
        "bytes_with_history": (without - empty) / count + (whole - without) / told,
    }


async def first_signal(served: Served, environment: str, number: int) -> float:
    """Seconds until its result."""
    async with Pool("127.0.0.1", served.port, headers={"Authorization": f"Bearer {served.token}"}) as pool:
        began = time.perf_counter()
        body = json.dumps({"signal": "scale", "component": "it", "n": number}).encode()
        status, accepted = await pool.post(f"/v1/environments/{environment}/signals", body)
        if status != 202:
            raise RuntimeError(f"{status}: {accepted!r}")
        operation = json.loads(accepted)["operation"]["id"]
        status, answer = await pool.get(f"/v1/operations/{operation}?wait=30")
        if json.loads(answer)["status"] != "succeeded":
            raise RuntimeError(f"{status}: {answer!r}")
        return time.perf_counter() - began


async def started(directory: Path, environment: str, number: int, idle: float) -> dict[str, float]:
    """One start: seconds to answer, to the first result; memory and CPU asleep if `idle` seconds are given."""
    served = Served(directory, "tests.benchmarks.server", "serve")
    try:
        found = {"ready_s": served.ready()}
        if idle:
            process = psutil.Process(served.process.pid)
            await asyncio.sleep(3)
            before = process.cpu_times()
            await asyncio.sleep(idle)
            after = process.cpu_times()
            found["rss_bytes"] = float(process.memory_info().rss)
            found["cpu_share"] = max(0.0, after.user + after.system - before.user - before.system) / idle
        found["first_signal_s"] = await first_signal(served, environment, number)
        return found
    finally:
        served.end()


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--counts", default="2000,100000")
    arguments.add_argument("--histories", type=int, default=100_000, help="the most entities that get a history")
    arguments.add_argument("--starts", type=int, default=8)
    arguments.add_argument("--idle", type=float, default=8.0)
    told = arguments.parse_args()
    counts = [0, *(int(each) for each in told.counts.split(","))]
    environments: dict[int, str] = {}
    found: dict[int, dict[str, Any]] = {}
    for count in counts:
        directory = told.directory / f"asleep-{count}"
        directory.mkdir(mode=0o700)
        environments[count] = await seed(directory / "twin.db")
        found[count] = sleeping(directory / "twin.db", environments[count], count, told.histories) if count else {}
    os.sync()  # or the first commit after a start would wait for the files that were made just now
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for start in range(told.starts):
        for count in counts:  # side by side: what disturbs the machine disturbs all
            idle = told.idle if start == 0 else 0.0
            runs[count].append(await started(told.directory / f"asleep-{count}", environments[count], start + 1, idle))
    for count in counts:
        for name in ("ready_s", "first_signal_s"):
            values = [run[name] for run in runs[count][1:]]
            found[count] |= {name: percentile(values, 0.5), f"{name}_noise": spread(values)}
        found[count] |= {name: runs[count][0][name] for name in ("rss_bytes", "cpu_share")}
        shutil.rmtree(told.directory / f"asleep-{count}")
    sys.stdout.write(json.dumps({"counts": {str(count): each for count, each in found.items()}}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

"""(i) What Twin adds to a provider's call: the time of a signal minus that of the same call made directly.

python -m tests.benchmarks.overhead DIRECTORY [--calls N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.load import percentile
from tests.benchmarks.subject import Nothing, open_twin

SECONDS = (0.05, 0.5)


async def measure(directory: Path, calls: int) -> dict[str, Any]:
    """Medians, in milliseconds, for calls of several lengths."""
    found = {}
    for seconds in SECONDS:
        provider: Any = Nothing(seconds)
        direct, through = [], []
        async with open_twin(f"sqlite:///{directory / f'overhead-{seconds}.db'}", seconds=seconds) as twin:
            environment = await twin.create("e")
            for _ in range(calls):
                began = time.perf_counter()
                await provider.apply(_Ref, None)
                between = time.perf_counter()
                await twin.signal(environment)
                direct.append((between - began) * 1000)
                through.append((time.perf_counter() - between) * 1000)
        alone, whole = percentile(direct, 0.5), percentile(through, 0.5)
        found[f"{seconds * 1000:.0f}"] = {
            "direct_ms": alone,
            "through_ms": whole,
            "added_ms": whole - alone,
            "added_share": (whole - alone) / alone,
        }
    return found


class _Ref:
    name = "direct"


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--calls", type=int, default=15)
    told = arguments.parse_args()
    sys.stdout.write(json.dumps({"calls": await measure(told.directory, told.calls)}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

"""The load that every subject gets, in one place, so that all are asked the same. Needs nothing but Python.

A subject is a coroutine `signal(entity)` that returns when the caller has the result.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

Signal = Callable[[int], Awaitable[object]]


def percentile(values: list[float], share: float) -> float:
    """The value below which so large a share of them lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: list[float]) -> float:
    """Half the distance of the quartiles, relative to the median: how noisy a figure is."""
    middle = percentile(values, 0.5)
    return (percentile(values, 0.75) - percentile(values, 0.25)) / 2 / middle if middle else 0.0


async def sequential(signal: Signal, *, count: int, warm: int = 20) -> dict[str, float]:
    """One signal after the other to one entity, in milliseconds."""
    for _ in range(warm):
        await signal(0)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await signal(0)
        took.append((time.perf_counter() - began) * 1000)
    return {
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
        "noise": spread(took),
        "signals": len(took),
    }


async def in_flight(signal: Signal, *, entities: int, at_once: int, seconds: float, warm: float) -> dict[str, float]:
    """So many signals under way at any time, no two for the same entity; signals per second after warming up."""
    done: list[float] = []
    took: list[float] = []
    until = time.perf_counter() + warm + seconds

    async def client(number: int) -> None:
        mine = range(number, entities, at_once)
        while True:
            for entity in mine:
                began = time.perf_counter()
                if began >= until:
                    return
                await signal(entity)
                done.append(time.perf_counter())
                took.append((done[-1] - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(at_once)))
    # Only what ended between the warming up and the end counts, second by second.
    start = began + warm
    counted = [moment for moment in done if start <= moment < until]
    slices = [sum(1 for m in counted if start + s <= m < start + s + 1) for s in range(int(seconds))]
    return {
        "per_second": len(counted) / seconds,
        "p50_ms": percentile(took, 0.5),
        "p99_ms": percentile(took, 0.99),
        "noise": spread([float(each) for each in slices]) if len(slices) > 3 else 0.0,
        "signals": len(counted),
    }

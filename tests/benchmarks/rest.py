"""(h) REST beside a bare endpoint of the same server: reads of an environment, signals accepted.

python -m tests.benchmarks.rest DIRECTORY [--seconds S]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.http_client import Pool
from tests.benchmarks.load import in_flight
from tests.benchmarks.served import Served, serving
from tests.benchmarks.subject import open_twin

ENTITIES, AT_ONCE = 64, 16


async def rate(ask: Any, *, seconds: float) -> dict[str, float]:
    """Answers per second."""
    return await in_flight(ask, entities=ENTITIES, at_once=AT_ONCE, seconds=seconds, warm=1.5)


def expect(status: int, answer: tuple[int, bytes]) -> bytes:
    """The body, if the status is the one expected."""
    if answer[0] != status:
        raise RuntimeError(f"{answer[0]}: {answer[1][:500]!r}")
    return answer[1]


async def twin(directory: Path, seconds: float) -> tuple[dict[str, Any], int]:
    """Twin's figures, and the size of a view."""
    async with open_twin(f"sqlite:///{directory / 'twin.db'}") as made:
        ids = [await made.create(f"e{number}") for number in range(ENTITIES)]
    numbers = [0] * ENTITIES
    with serving(directory) as served:
        headers = {"Authorization": f"Bearer {served.token}"}
        async with Pool("127.0.0.1", served.port, headers=headers) as pool:
            size = len(expect(200, await pool.get(f"/v1/environments/{ids[0]}")))

            async def read(entity: int) -> None:
                expect(200, await pool.get(f"/v1/environments/{ids[entity]}"))

            async def send(entity: int) -> dict[str, Any]:
                numbers[entity] += 1
                body = json.dumps({"signal": "scale", "component": "it", "n": numbers[entity]}).encode()
                accepted: dict[str, Any] = json.loads(
                    expect(202, await pool.post(f"/v1/environments/{ids[entity]}/signals", body))
                )
                return accepted

            async def send_and_wait(entity: int) -> None:
                accepted = await send(entity)
                expect(200, await pool.get(f"/v1/operations/{accepted['operation']['id']}?wait=30"))

            return {
                "reads": await rate(read, seconds=seconds),
                "to_result": await rate(send_and_wait, seconds=seconds),
                "signals": await rate(send, seconds=seconds),
            }, size


async def bare(directory: Path, seconds: float, size: int) -> dict[str, Any]:
    """The floor."""
    served = Served(directory, "tests.benchmarks.bare", "PORT", str(size))
    try:
        served.ready("/view")
        async with Pool("127.0.0.1", served.port) as pool:

            async def read(entity: int) -> None:
                expect(200, await pool.get("/view"))

            async def send(entity: int) -> None:
                expect(202, await pool.post("/signals", b'{"signal":"scale","component":"it","n":1}'))

            return {"reads": await rate(read, seconds=seconds), "signals": await rate(send, seconds=seconds)}
    finally:
        served.end()


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--seconds", type=float, default=6.0)
    told = arguments.parse_args()
    found, size = await twin(told.directory, told.seconds)
    floor = await bare(told.directory, told.seconds, size)
    sys.stdout.write(json.dumps({"twin": found, "bare": floor, "bytes": size}) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

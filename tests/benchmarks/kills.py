"""(g) From `kill -9` to new progress: on one machine with SQLite, and with another worker on PostgreSQL.

    python -m tests.benchmarks.kills DIRECTORY POSTGRES_URL [--kills N] [--lease S]

Killed in the middle of a step of 0.3 s; progress is that this very operation succeeds, less the time of the step. On
SQLite the service is started again at once, as a supervisor would. On PostgreSQL a second worker takes the step over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from tests.benchmarks import postgres
from tests.benchmarks.http_client import Pool
from tests.benchmarks.load import percentile
from tests.benchmarks.served import Served
from tests.benchmarks.subject import ADMIN, open_twin
from tests.benchmarks.workers import KEY

STEP = 0.3


async def on_sqlite(directory: Path, kills: int) -> list[float]:
    """Seconds from each kill to success, less the step itself."""
    async with open_twin(f"sqlite:///{directory / 'twin.db'}") as twin:
        environment = await twin.create("one")
    took = []
    served = Served(directory, "tests.benchmarks.server", "serve", BENCH_STEP_SECONDS=STEP)
    try:
        for number in range(1, kills + 1):
            served.ready()
            headers = {"Authorization": f"Bearer {served.token}"}
            async with Pool("127.0.0.1", served.port, headers=headers) as pool:
                body = json.dumps({"signal": "scale", "component": "it", "n": number}).encode()
                status, accepted = await pool.post(f"/v1/environments/{environment}/signals", body)
                if status != 202:
                    raise RuntimeError(f"{status}: {accepted!r}")
                operation = json.loads(accepted)["operation"]["id"]
                await asyncio.sleep(STEP / 2)
                served.kill()
                killed = time.monotonic()
            served = Served(directory, "tests.benchmarks.server", "serve", port=served.port, BENCH_STEP_SECONDS=STEP)
            served.ready()
            async with Pool("127.0.0.1", served.port, headers=headers) as pool:
                _, answer = await pool.get(f"/v1/operations/{operation}?wait=60")
                if json.loads(answer)["status"] != "succeeded":
                    raise RuntimeError(repr(answer))
                took.append(time.monotonic() - killed - STEP)
    finally:
        served.end()
    return took


async def on_postgres(directory: Path, url: str, kills: int, lease: float) -> list[float]:
    """The same with one worker that dies and one that goes on."""
    database = postgres.database(url, "bench_kills")
    took = []
    environ = {
        "TWIN_DATABASE_URL": database,
        "TWIN_VAULT_KEY": KEY,
        "TWIN_LEASE": f"{lease}s",
        "BENCH_STEP_SECONDS": STEP,
    }

    def employ(number: int) -> Served:
        place = directory / f"pg-{number}"
        place.mkdir(mode=0o700)
        return Served(place, "tests.benchmarks.server", "worker", **environ)

    workers = [employ(0), employ(1)]
    try:
        async with open_twin(database, work=False) as twin:
            environment = await twin.create("one")
            for number in range(1, kills + 1):
                operation = await twin.send(environment)
                holder = None
                while holder is None:
                    row = await twin.store.entity("environment", environment)
                    holder = next((r.worker for r in row.state.running.values()), None) if row else None
                    await asyncio.sleep(0.01)
                dying = next(each for each in workers if str(each.process.pid) in holder.split("/"))
                dying.kill()
                killed = time.monotonic()
                workers = [each for each in workers if each is not dying]
                view = await twin.twins.operation(operation, ADMIN, wait=60)
                if view.status != "succeeded":
                    raise RuntimeError(str(view))
                took.append(time.monotonic() - killed - STEP)
                workers.append(employ(number + 1))
                await asyncio.sleep(3)
    finally:
        for worker in workers:
            worker.end()
    return took


def told_of(took: list[float]) -> dict[str, float]:
    """Middle and worst."""
    return {"p50_s": percentile(took, 0.5), "worst_s": max(took), "kills": len(took)}


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--lease", type=float, default=5.0)
    told = arguments.parse_args()
    (told.directory / "kills").mkdir(mode=0o700)
    result = {
        "sqlite": told_of(await on_sqlite(told.directory / "kills", told.kills)),
        "postgres": told_of(await on_postgres(told.directory, told.url, told.kills, told.lease)),
        "lease_s": told.lease,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

"""(m) What a burst of webhooks costs: the answers, beside those of a bare endpoint, and all that follows from them.

    python -m tests.benchmarks.webhooks DIRECTORY POSTGRES_URL [--rounds N] [--pulls N] [--alone N]

A burst is four deliveries of each of 50 pull requests, in GitHub's form, twenty under way at a time. The floor reads
the same body, checks the same signature and commits one row to a database of the same kind. First the answers alone
(no preview source names the repository), bursts to both in turn; then all of it (`preview_path`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import postgres
from tests.benchmarks.bare_webhook import SECRET
from tests.benchmarks.deliveries import EVENTS, Answers, Delivery, burst
from tests.benchmarks.http_client import Pool
from tests.benchmarks.preview_path import Client, previews
from tests.benchmarks.served import Served
from tests.benchmarks.subject import open_twin
from tests.benchmarks.workers import KEY

HOST = "127.0.0.1:9"
"""Where the forge is that nobody has to ask: no one is there."""


async def answers(directory: Path, url: str, floor: str, told: argparse.Namespace) -> dict[str, Any]:
    """Those of the twin and of the floor, in turn."""
    twin = Served(directory, "tests.acceptance.shelf", "serve", **of_database(url))
    bare = Served(directory, "tests.benchmarks.bare_webhook", "PORT", floor)
    found = {name: {"burst": Answers(), "alone": Answers()} for name in ("twin", "bare")}
    try:
        twin.ready()
        bare.ready("/ready")
        async with Client(twin) as client, Pool("127.0.0.1", bare.port) as to_bare:
            await client.add_forge({"url": f"http://{HOST}"}, token="nobody-asks", webhook_secret=SECRET)
            for round_ in range(told.rounds + 1):
                deliveries = burst(told.pulls, HOST, name=f"round-{round_}")
                for name, pool in (("twin", client.pool), ("bare", to_bare)):
                    # The first round warms up.
                    await (found[name]["burst"] if round_ else Answers()).send(pool, deliveries)
                    if name == "twin":
                        await handled(client, deliveries)
            for number in range(told.alone):
                (one, *_) = burst(1, HOST, name=f"alone-{number}")
                await found["twin"]["alone"].send(client.pool, [one], at_once=1)
                await handled(client, [one])
                await found["bare"]["alone"].send(to_bare, [one], at_once=1)
    finally:
        twin.end()
        bare.end()
    return {name: {how: each.told() for how, each in both.items()} for name, both in found.items()}


async def handled(client: Client, deliveries: list[Delivery]) -> None:
    """Until the work for the last of them is done: the next burst meets a service at rest."""
    for each in deliveries[-20:]:
        await client.until("delivery_handled", each.guid)


def of_database(url: str) -> dict[str, object]:
    """What a twin on it is told."""
    return {"TWIN_DATABASE_URL": url, "TWIN_VAULT_KEY": KEY, "TWIN_SLOTS": 16}


async def measured(
    directory: Path, fresh: Callable[[str], str], floor: Callable[[str], str], told: argparse.Namespace
) -> dict[str, Any]:
    """On one kind of database. `fresh` and `floor` make one of a name, for the twin and for the floor."""
    for part in ("answers", "path"):
        (directory / part).mkdir(parents=True, mode=0o700)
    url = await _tables(fresh("answers"))
    found = await answers(directory / "answers", url, floor("floor"), told)
    url = await _tables(fresh("path"))
    return {**found, "path": await previews(directory / "path", of_database(url), told.pulls)}


async def _tables(url: str) -> str:
    async with open_twin(url, work=False, publish=False):
        return url


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--pulls", type=int, default=50)
    arguments.add_argument("--alone", type=int, default=100)
    told = arguments.parse_args()

    def file(name: str) -> str:
        return str(told.directory / f"{name}.db")

    def database(name: str) -> str:
        return postgres.database(told.url, f"bench_webhooks_{name}")

    result = {
        "sqlite": await measured(told.directory / "sqlite", lambda name: f"sqlite:///{file(name)}", file, told),
        "postgres": await measured(told.directory / "postgres", database, database, told),
        "pulls": told.pulls,
        "deliveries": told.pulls * len(EVENTS),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

"""(f) Audit queries by every filter on many events, and how quickly all of them are exported.

python -m tests.benchmarks.audit DIRECTORY [--events 1000000] [--queries N] [--export N] [--fill]

A file that is there already is measured as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.benchmarks import clones
from tests.benchmarks.load import percentile
from tests.benchmarks.subject import open_twin
from twin.ports.store import EventFilter

PROJECTS, NAMES, ACTORS, REQUESTS, COMPONENTS = 50, 2000, 100, 20_000, 8
TIERS = ("dev", "staging", "prod", "preview")
TYPES = ("operation_accepted", "desired_changed", "step_started", "step_succeeded", "operation_ended")
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
SPAN = 300 * 86_400 * 1_000_000


def fill(file: Path, original: str, count: int) -> float:
    """So many events in 2,000 entities, spread over 300 days; the seconds that took."""
    began = time.monotonic()
    with clones.opened(file) as connection:
        names = [name for name in clones.columns(connection, "events") if name != "id"]
        given = {
            "entity": f"'env_' || printf('%026d', n.i % {NAMES})",
            "seq": f"n.i / {NAMES} + 1",
            "at": f"{START} + n.i * {SPAN // count}",
            "actor_name": f"'person-' || (n.i * 7 % {ACTORS})",
            "request_id": f"'req-' || (n.i / 5 % {REQUESTS})",
            "project": f"'project-' || (n.i % {NAMES} % {PROJECTS})",
            "name": f"'e' || (n.i % {NAMES})",
            "tier": "CASE n.i % 4 " + " ".join(f"WHEN {i} THEN '{tier}'" for i, tier in enumerate(TIERS)) + " END",
            "type": "CASE n.i % 5 " + " ".join(f"WHEN {i} THEN '{name}'" for i, name in enumerate(TYPES)) + " END",
            "operation_id": "'op_' || printf('%026d', n.i / 5)",
            "component": f"'c' || (n.i % {COMPONENTS})",
        }
        values = ", ".join(given.get(name, f"t.{name}") for name in names)
        connection.execute(
            "CREATE TEMP TABLE original AS SELECT * FROM events WHERE entity = ? AND seq = 2", (original,)
        )
        with clones.bulk(connection):
            connection.execute(
                clones.COUNTING.format(count=count)
                + f"INSERT INTO events ({', '.join(names)}) SELECT {values} FROM n CROSS JOIN original t"
            )
    return time.monotonic() - began


def filters(count: int) -> dict[str, Callable[[random.Random], EventFilter]]:
    """One maker of queries per filter, and for several filters at once."""

    def day(dice: random.Random) -> dict[str, Any]:
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=dice.random() * 290)
        return {"since": start, "until": start + timedelta(days=1)}

    def project(dice: random.Random) -> str:
        return f"project-{dice.randrange(PROJECTS)}"

    return {
        "none": lambda dice: EventFilter(),
        "project": lambda dice: EventFilter(project=project(dice)),
        "tier": lambda dice: EventFilter(tier=dice.choice(TIERS)),
        "environment": lambda dice: EventFilter(environment=f"e{dice.randrange(NAMES)}"),
        "entity": lambda dice: EventFilter(entity=f"env_{dice.randrange(NAMES):026d}"),
        "component": lambda dice: EventFilter(component=f"c{dice.randrange(COMPONENTS)}"),
        "actor": lambda dice: EventFilter(actor=f"person-{dice.randrange(ACTORS)}"),
        "type": lambda dice: EventFilter(type=dice.choice(TYPES)),
        "operation": lambda dice: EventFilter(operation=f"op_{dice.randrange(count // 5):026d}"),
        "correlation": lambda dice: EventFilter(correlation=f"req-{dice.randrange(min(REQUESTS, count // 5))}"),
        "time": lambda dice: EventFilter(**day(dice)),
        "project and time": lambda dice: EventFilter(project=project(dice), **day(dice)),
        "project and type": lambda dice: EventFilter(project=project(dice), type=dice.choice(TYPES)),
        "project and tier": lambda dice: EventFilter(project=project(dice), tier=dice.choice(TIERS)),
        "project and actor": lambda dice: EventFilter(project=project(dice), actor=f"person-{dice.randrange(ACTORS)}"),
        "project and component": lambda dice: EventFilter(
            project=project(dice), component=f"c{dice.randrange(COMPONENTS)}"
        ),
        "project and environment": lambda dice: EventFilter(
            project=project(dice), environment=f"e{dice.randrange(NAMES)}"
        ),
        "environment and type": lambda dice: EventFilter(
            environment=f"e{dice.randrange(NAMES)}", type=dice.choice(TYPES)
        ),
        "actor and time": lambda dice: EventFilter(actor=f"person-{dice.randrange(ACTORS)}", **day(dice)),
        "type and time": lambda dice: EventFilter(type=dice.choice(TYPES), **day(dice)),
        "time and no end": lambda dice: EventFilter(since=day(dice)["since"]),
        "time and no begin": lambda dice: EventFilter(until=day(dice)["until"]),
    }


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--queries", type=int, default=100)
    arguments.add_argument("--export", type=int, default=100_000, help="events to export")
    arguments.add_argument("--fill", action="store_true", help="only make the file")
    told = arguments.parse_args()
    file = told.directory / "audit.db"
    filled = 0.0
    if not file.exists():  # to make ten million takes minutes, to ask again does not
        async with open_twin(f"sqlite:///{file}") as twin:
            original = await twin.create("one")
        filled = fill(file, original, told.events)
    if told.fill:
        return
    found: dict[str, dict[str, float]] = {}
    async with open_twin(f"sqlite:///{file}", work=False, publish=False) as twin:
        for name, make in filters(told.events).items():
            dice = random.Random(name)
            took: list[float] = []
            began_all = time.monotonic()
            for _ in range(told.queries):
                wanted = make(dice)
                began = time.perf_counter()
                await twin.store.events(wanted, limit=100)
                took.append((time.perf_counter() - began) * 1000)
                if time.monotonic() - began_all > 60:
                    break
            found[name] = {
                "p50_ms": percentile(took, 0.5),
                "p99_ms": percentile(took, 0.99),
                "queries": len(took),
            }
        exported, cursor, began = 0, None, time.perf_counter()
        while exported < told.export:
            page = await twin.store.events(EventFilter(), limit=1000, after=cursor)
            for event in page.items:
                json.dumps({"entity": event.entity, "seq": event.seq, "type": event.type, "body": event.body.decode()})
            if not page.items:
                break
            exported, cursor = exported + len(page.items), page.next
        rate = exported / (time.perf_counter() - began)
    result = {
        "events": told.events,
        "fill_s": filled,
        "gigabytes": file.stat().st_size / 1e9,
        "filters": found,
        "export_per_second": rate,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

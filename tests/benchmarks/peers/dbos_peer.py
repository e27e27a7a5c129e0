"""DBOS: one workflow per signal, named by entity and number, with one step that makes the entity's new state.

The cheapest idiomatic form: no queue and no lock per entity, although Twin orders an entity's signals. Signal, state
and history are DBOS's own rows of workflows and steps.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from arguments import answer, measured, parser
from dbos import DBOS, SetWorkflowID

numbers: Counter[int] = Counter()


@DBOS.step()
async def act(entity: int, number: int) -> int:
    """The no-op step."""
    return number


@DBOS.workflow()
async def receive(entity: int, number: int) -> int:
    """What a signal leads to."""
    return await act(entity, number)


async def signal(entity: int) -> int:
    """To the result."""
    numbers[entity] += 1
    with SetWorkflowID(f"{entity}/{numbers[entity]}"):
        return await receive(entity, numbers[entity])


async def main() -> None:
    arguments = parser()
    arguments.add_argument("--database", default="")
    told = arguments.parse_args()
    url = told.database or f"sqlite:///{told.directory}/dbos.sqlite"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})
    DBOS.launch()
    try:
        result = await measured(signal, told)
    finally:
        await asyncio.to_thread(DBOS.destroy)
    answer(result, "dbos", "sqlalchemy")


asyncio.run(main())

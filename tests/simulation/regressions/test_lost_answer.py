"""Found by seed 5: the answer to the COMMIT of a start was lost, and the start, made again, gave back its own lease.

The step then ran for ever: its row said that it runs, and nobody held it.
"""

from __future__ import annotations

from typing import Any

import pytest

from twin.domain.errors import Unavailable
from twin.testing.inline import WORKER
from twin.testing.world import open_world


async def test_a_start_whose_answer_was_lost_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_world() as world:
        environment = await world.create()
        task, *others = await world.store.claim(WORKER, {"data-1": 100}, 100)
        transact = world.store.transact

        async def deaf(fn: Any) -> Any:
            monkeypatch.undo()
            await transact(fn)
            raise Unavailable("the connection broke after COMMIT was sent")

        monkeypatch.setattr(world.store, "transact", deaf)
        await world.executor.step(task)
        assert task.key not in (await world.env(environment)).running, "it has come to its end"
        for other in others:
            await world.executor.step(other)
        await world.run_until_quiet()
        assert (await world.view(environment)).status == "ready"

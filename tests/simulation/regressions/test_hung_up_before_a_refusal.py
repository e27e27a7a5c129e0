"""Found by seed 11 (6 environments, 3 days, pace 0.4): a client hung up before its signal was refused. Nobody looked at
the refusal, so that asyncio logged it as an error of ours."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from twin.domain.errors import Rejected
from twin.domain.signals import parse
from twin.testing.world import open_world


async def test_a_refusal_that_nobody_waits_for_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    async with open_world() as world:
        environment = await world.create()
        await world.run_until_quiet()
        entered, go_on = asyncio.Event(), asyncio.Event()
        transact = world.store.transact

        async def slow(fn: Any) -> Any:
            entered.set()
            await go_on.wait()
            return await transact(fn)

        monkeypatch.setattr(world.store, "transact", slow)  # the database takes its time
        resend = parse({"signal": "remove_component", "component": "db"})
        sending = asyncio.create_task(world.twins.send(environment, resend, world.request()))
        await entered.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        go_on.set()
        for _ in range(5):
            await asyncio.sleep(0)
        monkeypatch.undo()
        with pytest.raises(Rejected):
            await world.send(environment, "remove_component", component="db")
    gc.collect()
    assert errors == []

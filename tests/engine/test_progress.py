"""What a running step says of how far it is: seen by people while it runs, never in its way, gone when it ends."""

from __future__ import annotations

import asyncio

from tests.waiting import soon
from twin.domain.errors import Unavailable
from twin.domain.targets import Target
from twin.engine.progress import LONGEST, Progress
from twin.ports.store import Tx
from twin.service.views import EnvironmentView
from twin.testing.inline import WORKER
from twin.testing.world import World

ADMIN = "the-admins-password"


def said(view: EnvironmentView) -> dict[str, str]:
    return {step.component: step.progress for step in view.plan.steps if step.progress}


async def held(world: World, *progress: str) -> str:
    """An environment whose database is being made, and says so."""
    world.outside.say("db.apply", *progress)
    world.outside.hold("db.apply")
    env = await world.create()
    await world.engine.run_due()
    return env


async def told(world: World, env: str) -> EnvironmentView:
    """As soon as a step has said something."""

    async def look() -> EnvironmentView | None:
        view = await world.view(env)
        return view if said(view) else None

    view = await soon(look)
    assert view is not None
    return view


async def test_it_is_seen_while_the_step_runs_and_gone_when_it_has_ended(world: World) -> None:
    env = await held(world, "1 of 12", "7 of 12, waiting for slow-8")
    seen = await told(world, env)
    assert said(seen) == {"db": "7 of 12, waiting for slow-8"}, "the last word, of the step that runs"
    history = len(await world.events(env))
    assert (await world.view(env)).version == seen.version == history, "it is no event"
    world.outside.let_go("db.apply")
    await world.run_until_quiet()
    view = await world.view(env)
    assert (view.status, said(view)) == ("ready", {})
    assert await world.store.progress(env) == {}


async def test_another_attempt_does_not_begin_with_the_words_of_the_last(world: World) -> None:
    env = await held(world, "7 of 12")
    await told(world, env)
    (task,) = [task for task in await world.store.held(WORKER) if task.key.startswith("db@")]
    assert await world.executor.lost(task, proven_dead=True)
    assert said(await world.view(env)) == {}
    world.outside.say("db.apply")
    world.outside.let_go("db.apply")
    await world.run_until_quiet()
    assert (await world.view(env)).status == "ready"


async def test_no_secret_is_in_it(world: World) -> None:
    def keep(tx: Tx) -> None:
        tx.put_target(Target(name="data-1", provider="data"))
        tx.put_secret("platform", "data-1", 1, "password", world.vault.seal("platform", "data-1", 1, "password", ADMIN))

    await world.store.transact(keep)
    env = await held(world, f"connected with {ADMIN}\x1b[2J\n to the server")
    view = await told(world, env)
    assert said(view) == {"db": "connected with ••• [2J to the server"}, "nor anything that a terminal would obey"
    world.outside.let_go("db.apply")
    await world.run_until_quiet()


class Kept:
    """What was written down, and a queue of what goes wrong."""

    def __init__(self, *errors: Exception) -> None:
        self.texts: list[str] = []
        self.written = asyncio.Event()
        self._errors = list(errors)

    async def __call__(self, text: str) -> bool:
        self.written.set()
        if self._errors:
            raise self._errors.pop(0)
        self.texts.append(text)
        return True


async def test_of_what_is_said_quickly_the_last_is_written() -> None:
    kept = Kept()
    progress = Progress(kept, mask=str)
    for number in range(10_000):
        progress.tell(f"{number} of 10000")
    async with asyncio.timeout(10):
        await kept.written.wait()
    assert kept.texts == ["9999 of 10000"]
    for number in range(10_000):
        progress.tell(f"again {number}")
    kept.written.clear()
    async with asyncio.timeout(10):
        await kept.written.wait()
    assert kept.texts == ["9999 of 10000", "again 9999"]
    await progress.close()


async def test_a_step_that_ends_soon_writes_nothing() -> None:
    kept = Kept()
    progress = Progress(kept, mask=str)
    progress.tell("half")
    await asyncio.sleep(0)
    await progress.close()
    progress.tell("too late")
    assert (kept.texts, len(asyncio.all_tasks())) == ([], 1)


async def test_what_could_not_be_written_is_written_later() -> None:
    kept = Kept(Unavailable("the database restarts"))
    progress = Progress(kept, mask=str)
    progress.tell("half")
    async with asyncio.timeout(10):
        while not kept.texts:
            await kept.written.wait()
            kept.written.clear()
    assert kept.texts == ["half"]
    await progress.close()


async def test_a_fault_of_ours_silences_it_and_harms_nobody() -> None:
    kept = Kept(RuntimeError("a fault"))
    progress = Progress(kept, mask=str)
    progress.tell("half")
    async with asyncio.timeout(10):
        await kept.written.wait()
    progress.tell("more")
    await progress.close()
    assert kept.texts == [], "a voice that failed is not raised again, and nobody hears of it but the log"


async def test_it_is_one_line_of_bounded_length() -> None:
    kept = Kept()
    progress = Progress(kept, mask=str)
    progress.tell("a\n\tb " + "c" * 1000)
    async with asyncio.timeout(10):
        await kept.written.wait()
    assert kept.texts[0].startswith("a b ccc")
    assert (len(kept.texts[0]), kept.texts[0][-1]) == (LONGEST, "…")
    await progress.close()

"""Found by seed 9 (6 environments, 2 days, pace 0.4, 3 pull requests): a worker stood still between its last look at
what was to be said and the saying of it. It was given up, another told how it all ended, and then the first woke up and
wrote over it: the comment of a pull request that was merged said for ever that its preview was being made."""

from __future__ import annotations

import asyncio

from tests.service.previews.scene import FORGE, A, Scene
from twin.domain.previews.names import pull_id
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.tasks import forge_queue
from twin.domain.targets import Target
from twin.ports.store import Claimed
from twin.testing.world import open_world


async def test_what_is_told_too_late_is_told_over() -> None:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        scene = Scene(world)
        await scene.configure()
        scene.forge.open(42, A)
        await scene.hint()
        entered, go_on = asyncio.Event(), asyncio.Event()
        put_comment = scene.forge.put_comment

        async def slow(repository: str, number: int, marker: str, body: str) -> str:
            scene.forge.put_comment = put_comment  # type: ignore[method-assign]
            entered.set()
            await go_on.wait()
            return await put_comment(repository, number, marker, body)

        scene.forge.put_comment = slow  # type: ignore[method-assign]
        task = Claimed(
            entity_kind=PULL_REQUEST.kind,
            entity=pull_id("guestbook", 42),
            kind="step",
            key="publish:comment",
            queue=forge_queue(FORGE),
            epoch=1,
        )
        late = asyncio.create_task(world.errands[PULL_REQUEST.kind].run(task))
        await entered.wait()
        scene.forge.change(42, state="merged")
        await scene.hint()
        assert "Preview: destroyed" in scene.forge.comments[42]
        go_on.set()
        await late
        assert "Preview: ready" in scene.forge.comments[42], "it wrote over what another had told"
        await scene.settle()
        assert "Preview: destroyed" in scene.forge.comments[42]

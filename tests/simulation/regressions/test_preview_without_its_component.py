"""Found by seed 9 (2 environments, 1.5 days, pace 0.2, 3 pull requests): somebody had taken away the app from the
environment that previews are cloned from. Previews were made without it, and their commits got a green status."""

from __future__ import annotations

from tests.service.previews.scene import FORGE, A, Scene
from twin.domain.previews.config import CloneFrom
from twin.domain.targets import Target
from twin.testing.world import open_world


async def test_a_clone_that_cannot_show_the_commit_is_not_made() -> None:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        staging = await world.create("staging")
        await world.send(staging, "remove_component", component="app")
        scene = Scene(world)
        await scene.configure(blueprint=None, clone_from=CloneFrom(environment="shop/staging", data="none"))
        scene.forge.open(42, A)
        await scene.hint()
        assert await scene.environment() is None
        assert scene.forge.statuses[A].outcome == "failure"
        assert "Preview: failed" in scene.forge.comments[42]

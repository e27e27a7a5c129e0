"""Found by seed 10 (2 environments, 1.5 days, pace 0.2, 3 pull requests, deliveries alone go wrong): a pull request was
opened, and closed again before the next listing; that it was closed was never delivered. The forge had listed the same
before and after, so that nobody asked, and its preview lived on."""

from __future__ import annotations

from datetime import timedelta

from tests.service.previews.scene import FORGE, A, Scene
from twin.domain.targets import Target
from twin.testing.world import open_world


async def test_what_came_and_went_between_two_equal_listings_is_asked_about() -> None:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        scene = Scene(world)
        await scene.configure()
        scene.forge.open(42, A)
        await scene.hint()
        assert await scene.shown() == A
        scene.forge.change(42, state="closed")
        await world.engine.run_until_quiet(until=world.clock.now() + timedelta(minutes=15))
        assert await scene.shown() is None
        scene.forge.calls.clear()
        await world.engine.run_until_quiet(until=world.clock.now() + timedelta(minutes=15))
        assert set(scene.forge.calls) == {"open_pulls"}, "then it is asked for no more than the listing"

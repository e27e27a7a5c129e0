"""A repository that is renamed keeps its previews, and one that takes its name has nothing to do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.service.previews.model_forge import REPOSITORY
from tests.service.previews.scene import FORGE, A, B, C, Scene
from twin.domain.previews.config import SourceConfig
from twin.domain.pulls import Repository
from twin.domain.targets import Target
from twin.testing.world import open_world

SITE = "acme/site"
OTHERS = Repository(id=8, name=REPOSITORY)
HOUR = timedelta(hours=1)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        yield Scene(world)


async def alive(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    assert await scene.shown() == A


async def test_a_renamed_repository_s_commits_are_fetched_by_its_new_name(scene: Scene) -> None:
    await alive(scene)
    first = await scene.environment()
    scene.forge.rename(SITE)
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    assert first is not None
    assert env.id == first.id
    assert env.desired.components["app"].inputs["source"] == {"git": f"https://forge.test/{SITE}.git", "ref": B}
    assert scene.forge.statuses[B].outcome == "success"
    assert (await scene.source()).repository == SITE

    scene.forge.names.remove(REPOSITORY)  # nothing answers under the old name any more
    scene.forge.change(42, head_sha=C)
    await scene.hint()
    assert await scene.shown() == C
    assert C[:12] in scene.forge.comments[42]
    renamed = SourceConfig(forge=FORGE, repository=SITE, project="shop", blueprint="guestbook", drafts=False)
    view = await scene.sources.put("guestbook", renamed, scene.world.request())
    assert view.config.repository == SITE
    scene.forge.change(42, draft=True)
    await scene.hint()
    assert await scene.shown() is None


async def test_reconciliation_learns_the_name_too(scene: Scene) -> None:
    await alive(scene)
    scene.forge.rename(SITE)
    scene.forge.change(42, head_sha=B)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + HOUR)
    assert (await scene.source()).repository == SITE
    assert await scene.shown() == B


@pytest.mark.parametrize("has_such", [True, False])
async def test_what_takes_its_name_neither_deploys_nor_destroys(scene: Scene, has_such: bool) -> None:
    await alive(scene)
    said, calls = dict(scene.forge.comments), scene.forge.calls
    ours, scene.forge.home = scene.forge.pulls, OTHERS
    scene.forge.pulls = {}
    if has_such:
        scene.forge.open(42, B)
    for state in ("open", "closed"):
        if has_such:
            scene.forge.change(42, state=state)
        await scene.hint()
        assert await scene.shown() == A
    calls.clear()
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + HOUR)
    assert await scene.shown() == A
    assert {"put_comment", "report", "deploy"}.isdisjoint(calls)
    assert scene.forge.comments == said, "nothing is said to strangers"
    pull = await scene.pull()
    assert f"{REPOSITORY} is another repository now" in pull.troubles["look"].message

    scene.forge.home, scene.forge.pulls = Repository(id=7, name=REPOSITORY), ours
    scene.forge.change(42, head_sha=C)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + HOUR)
    assert await scene.shown() == C, "it has its name again"


async def test_the_source_of_a_replaced_repository_says_so_and_can_be_removed(scene: Scene) -> None:
    await alive(scene)
    scene.forge.home, scene.forge.pulls = OTHERS, {}
    scene.forge.open(7, B)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + HOUR)
    (view,) = await scene.sources.all(scene.world.request().by)
    assert "is another repository now" in view.problems[0]
    assert await scene.environment(7) is None
    await scene.sources.remove("guestbook", scene.world.request())
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + HOUR)
    assert await scene.shown() is None
    await scene.configure()
    assert await scene.shown(7) == B, "made anew, it is of the other one"

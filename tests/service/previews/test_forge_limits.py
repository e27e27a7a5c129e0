"""A forge's target may be limited to projects and tiers, as any target."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.previews.model_forge import REPOSITORY
from tests.service.previews.scene import FORGE, A, B, Scene
from twin.domain.errors import Invalid
from twin.domain.identity import TWIN
from twin.domain.previews.config import SourceConfig
from twin.domain.targets import Target
from twin.service.principals import Principal, Request
from twin.testing.world import ADMIN, open_world

OPERATOR = Request(Principal("op", (("shop", "operator"),)), "req_1")
CONFIG = SourceConfig(forge=FORGE, repository=REPOSITORY, project="shop", blueprint="guestbook")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_world() as world:
        yield Scene(world)


async def limit(scene: Scene, projects: tuple[str, ...] = (), tiers: tuple[str, ...] = ()) -> None:
    target = Target(name=FORGE, provider="gitea", projects=projects, tiers=tiers)
    await scene.world.store.transact(lambda tx: tx.put_target(target))


@pytest.mark.parametrize(("projects", "tiers"), [(("bank",), ()), ((), ("dev",)), (("bank", "shop"), ("prod",))])
async def test_a_forge_of_others_is_no_source_s(
    scene: Scene, projects: tuple[str, ...], tiers: tuple[str, ...]
) -> None:
    await limit(scene, projects, tiers)
    with pytest.raises(Invalid, match="does not take previews of project 'shop'") as refused:
        await scene.sources.put("guestbook", CONFIG, OPERATOR)
    assert refused.value.field == "forge"
    assert await scene.sources.all(ADMIN) == ()


async def test_a_forge_that_names_the_project_is(scene: Scene) -> None:
    await limit(scene, ("bank", "shop"), ("preview",))
    await scene.sources.put("guestbook", CONFIG, OPERATOR)
    scene.forge.open(42, A)
    await scene.hint()
    assert await scene.shown() == A


async def test_one_that_is_narrowed_later_waits_for_its_admin_and_destroys_nothing(scene: Scene) -> None:
    await limit(scene)
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    await limit(scene, ("bank",))
    asked = len(scene.forge.calls)
    scene.forge.change(42, head_sha=B)
    scene.forge.open(43, B)
    await scene.hint()
    await scene.hint(43)
    scene.forge.change(42, state="closed")
    await scene.hint()
    assert len(scene.forge.calls) == asked, "nothing is asked with a credential that is for others"
    assert (await scene.shown(), await scene.environment(43)) == (A, None)
    (block,) = await scene.world.store.blocks()
    assert block.key == f"{FORGE}/limits/shop"

    await limit(scene, ("shop",))
    await scene.world.store.transact(lambda tx: tx.resolve_block(block.key, TWIN))
    await scene.settle()
    assert (await scene.shown(), await scene.shown(43)) == (None, B)

"""Quotas where environments are asked for: by people, as clones, by pull requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from twin.domain.errors import Forbidden, Invalid
from twin.domain.quotas import QuotaReached, Quotas
from twin.domain.signals.create import Create
from twin.service.principals import Principal, Request
from twin.testing.world import ADMIN, World, open_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as world:
        yield world


async def limit(world: World, most: int | None = None, **tiers: int) -> None:
    await world.quotas.set("shop", Quotas(max_environments=most, tiers=tiers), world.request())


async def test_one_more_than_a_project_may_have_is_refused_until_another_is_proven_gone(world: World) -> None:
    await limit(world, 2)
    first = await world.create("one")
    await world.create("two", tier="staging")
    with pytest.raises(QuotaReached, match="2 of at most 2 environments") as refused:
        await world.create("three")
    assert (refused.value.code, refused.value.field) == ("quota_reached", "project")
    await world.create("three", project="other")
    view = await world.quotas.get("shop", ADMIN)
    assert (view.max_environments, view.living) == (2, {"dev": 1, "staging": 1})
    await world.run_until_quiet()
    await world.send(first, "destroy")
    with pytest.raises(QuotaReached):
        await world.create("three")
    await world.run_until_quiet()
    await world.create("three")


async def test_a_tiers_quota_counts_that_tier_alone(world: World) -> None:
    await limit(world, preview=1)
    await world.create("one", tier="preview")
    with pytest.raises(QuotaReached, match="1 of at most 1 preview environments") as refused:
        await world.create("two", tier="preview")
    assert refused.value.field == "tier"
    assert "--tier preview=2" in (refused.value.mend or "")
    await world.create("two", tier="dev")
    dry = Create(name="three", project="shop", blueprint="guestbook", tier="preview")
    with pytest.raises(QuotaReached):
        await world.twins.dry_run_create(dry, world.request())


async def test_a_clone_needs_room_too_and_a_refused_one_leaves_its_source_alone(world: World) -> None:
    source = await world.create("staging")
    await world.run_until_quiet()
    before = await world.env(source)
    await limit(world, 1)
    with pytest.raises(QuotaReached):
        await world.send(source, "clone", name="copy", data="full")
    assert await world.env(source) == before


async def test_a_lower_quota_destroys_nothing(world: World) -> None:
    made = [await world.create(name) for name in ("one", "two", "three")]
    await world.run_until_quiet()
    await limit(world, 1, dev=0)
    await world.run_until_quiet()
    assert [(await world.view(each)).status for each in made] == ["ready"] * 3
    await world.send(made[0], "scale", component="app", replicas=2)
    await world.run_until_quiet()
    assert (await world.view(made[0])).status == "ready", "what is there goes on as ever"
    await limit(world)
    await world.create("four")


async def test_a_repeated_request_is_no_second_environment(world: World) -> None:
    await limit(world, 1)
    create = Create(name="one", project="shop", blueprint="guestbook")
    first = await world.twins.create(create, world.request("k1"))
    again = await world.twins.create(create, world.request("k1"))
    assert (again.environment_id, again.replayed) == (first.environment_id, True)


async def test_who_may_set_and_see_them(world: World) -> None:
    operator = Request(Principal("op", (("shop", "admin"),)), "r1")
    with pytest.raises(Forbidden):
        await world.quotas.set("shop", Quotas(max_environments=1), operator)
    await limit(world, 1)
    assert (await world.quotas.get("shop", operator.by)).max_environments == 1
    with pytest.raises(Forbidden):
        await world.quotas.get("shop", Principal("eve", (("other", "admin"),)))
    with pytest.raises(Invalid):
        await world.quotas.set("shop", Quotas(tiers={"previews": 1}), world.request())


async def test_however_many_ask_at_once_no_more_are_created(world: World) -> None:
    await limit(world, 3)
    asked = [world.create(f"env-{number}") for number in range(8)]
    made = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, str) for each in made) == 3
    assert sum(isinstance(each, QuotaReached) for each in made) == 5

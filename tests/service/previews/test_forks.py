"""Pull requests from forks: a stranger's code runs where something keeps it from the rest, and only as the very commit
that a member has allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.service.previews.scene import FORGE, A, B, C, Scene
from twin.domain.previews.config import CloneFrom
from twin.domain.previews.names import pull_id
from twin.domain.targets import Target
from twin.testing.world import open_world

FORK = "mallory/guestbook"


@asynccontextmanager
async def opened(*sandboxes: str) -> AsyncIterator[Scene]:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        yield Scene(world, sandboxes=sandboxes)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """As it is now: nothing has a sandbox."""
    async with opened() as scene:
        yield scene


@pytest.fixture
async def guarded() -> AsyncIterator[Scene]:
    """Where all that runs a preview's code keeps it from the rest."""
    async with opened("test.service") as scene:
        yield scene


async def commits(scene: Scene) -> list[str]:
    """All that the environment ever had as its app's source, oldest first."""
    env = await scene.environment()
    if env is None:
        return []
    sources = [
        each.event.desired.components["app"].inputs["source"]["ref"]
        for each in await scene.world.events(env.id)
        if each.type in ("environment_created", "desired_changed")
    ]
    return list(dict.fromkeys(sources))


async def taken(scene: Scene) -> list[tuple[str, str | None]]:
    """What the history has of commands: who gave it, and the commit that it allowed."""
    events = await scene.world.events(pull_id("guestbook", 42))
    return [(each.event.by, each.event.sha) for each in events if each.type == "command_taken"]


async def test_a_fork_gets_nothing_where_nothing_keeps_its_code_from_the_rest(scene: Scene) -> None:
    await scene.configure(forks="allow")
    scene.forge.open(42, A, head_repository=FORK)
    await scene.hint()
    await scene.command(f"allow {A[:12]}")
    assert await scene.environment() is None
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert await scene.environment() is None
    assert scene.world.outside.standing == {}
    assert await taken(scene) == [("bo", A)]


async def test_a_fork_gets_nothing_where_its_code_would_run_beside_the_sandbox() -> None:
    async with opened("test.cache") as scene:
        await scene.configure(forks="allow")
        scene.forge.open(42, A, head_repository=FORK)
        await scene.hint()
        await scene.command(f"allow {A[:12]}")
        assert await scene.environment() is None
        assert scene.world.outside.standing == {}
        assert "which has no sandbox for a stranger" in scene.forge.comments[42]
        assert scene.forge.statuses[A].outcome == "failure"


async def test_a_push_after_it_was_allowed_needs_leave_of_its_own(guarded: Scene) -> None:
    await guarded.configure(forks="allow")
    guarded.forge.open(42, A, head_repository=FORK)
    await guarded.hint()
    assert await guarded.environment() is None, "until somebody has read it"
    await guarded.command(f"allow {A[:12]}")
    assert await guarded.shown() == A
    assert guarded.forge.statuses[A].outcome == "success"

    before = dict(guarded.world.outside.standing)
    guarded.forge.change(42, head_sha=B)
    await guarded.hint()
    assert await guarded.shown() == A, "what was allowed stays, what was not does not come"
    assert guarded.world.outside.standing == before
    assert guarded.forge.statuses[B].outcome == "pending"
    assert f"/twin allow {B[:12]}" in guarded.forge.comments[42]

    await guarded.command(f"allow {A[:12]}")
    await guarded.command("redeploy")
    await guarded.command(f"allow {B[:12]}", permission="read")
    assert await guarded.shown() == A
    assert guarded.forge.statuses[B].outcome == "pending"
    assert await commits(guarded) == [A]

    guarded.forge.change(42, head_sha=C)  # between the reading of B and the leave for it, and nobody has heard of it
    await guarded.command(f"allow {B[:12]}")
    await guarded.hint()
    assert await commits(guarded) == [A, B], "B is what they have read, and all that comes of it"
    assert guarded.forge.statuses[C].outcome == "pending"
    await guarded.command(f"allow {C[:12]}")
    assert await guarded.shown() == C
    assert await commits(guarded) == [A, B, C]
    assert [by for by, sha in await taken(guarded) if sha is not None] == ["bo", "bo", "bo"]
    assert {sha for _, sha in await taken(guarded)} == {A, B, C, None}


async def test_a_fork_of_an_environment_with_data_has_none_of_it(guarded: Scene) -> None:
    await guarded.world.create("staging")
    await guarded.world.run_until_quiet()
    await guarded.configure(
        forks="allow", blueprint=None, clone_from=CloneFrom(environment="shop/staging", data="full")
    )
    guarded.forge.open(42, A, head_repository=FORK)
    await guarded.hint()
    await guarded.command(f"allow {A[:12]}")
    env = await guarded.environment()
    assert env is not None
    assert env.desired.seed is None or env.desired.seed.mode == "none"

"""Looks of which a part fails: closing wins all the same, and what went wrong is told where people look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.service.previews.scene import FORGE, MINUTE, A, B, C, Scene
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient
from twin.domain.identity import TWIN
from twin.domain.targets import Target
from twin.testing.world import open_world

FILE = ".twin/preview.yaml"
KEY = f"{FORGE}/permission/acme/guestbook"
NO_RIGHT = Blocked("its token has no right to contents", key=KEY, mend="grant it Contents: read")
TOO_LARGE = Terminal(f"{FILE} has 300000 bytes, more than 262144")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        yield Scene(world)


async def lives(scene: Scene) -> None:
    """A preview of the first commit."""
    scene.forge.open(42, A)
    await scene.hint()
    assert await scene.shown() == A


def comment(scene: Scene) -> str:
    return scene.forge.comments[42].replace("\\", "").replace("\u200b", "")


@pytest.mark.parametrize("failure", [NO_RIGHT, TOO_LARGE])
@pytest.mark.parametrize("call", ["content", "changed_paths"])
async def test_what_the_forge_does_not_give_is_told_and_closing_wins(
    scene: Scene, call: str, failure: StepFailure
) -> None:
    await scene.configure(paths=("**",), reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.failing[call] = [failure] * 100
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert await scene.shown() == A, "what stands stays"
    assert failure.message in comment(scene)
    assert scene.forge.statuses[B].outcome == "failure"
    if isinstance(failure, Blocked):
        assert "Waits for platform." in comment(scene)
        assert failure.mend in comment(scene)
    scene.forge.change(42, state="closed")
    asked = scene.forge.calls.count(call)
    await scene.hint()
    assert await scene.shown() is None
    assert scene.forge.calls.count(call) == asked, "what follows from the pull request needs nothing else"
    assert await scene.world.store.blocks() == ()


async def test_it_goes_on_once_somebody_has_mended_it(scene: Scene) -> None:
    await scene.configure(reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.failing["content"] = [NO_RIGHT]
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    (block,) = await scene.world.store.blocks()
    assert (block.key, block.waiting) == (KEY, 1)
    await scene.world.store.transact(lambda tx: tx.resolve_block(KEY, TWIN))
    await scene.settle()
    assert await scene.shown() == B
    assert await scene.world.store.blocks() == ()


async def test_it_goes_on_by_itself_when_nobody_can_tell_that_it_is_mended(scene: Scene) -> None:
    await scene.configure(reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.failing["content"] = [TOO_LARGE]
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    asked = len(scene.forge.calls)
    await scene.settle()
    assert len(scene.forge.calls) == asked, "but slowly"
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + 20 * MINUTE)
    assert await scene.shown() == B


async def test_what_gets_no_preview_anyway_goes_whatever_its_file_says(scene: Scene) -> None:
    await scene.configure(excluded_labels=("no-preview",), reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.failing["content"] = [NO_RIGHT] * 100
    scene.forge.change(42, head_sha=B, labels=("no-preview",))
    await scene.hint()
    assert await scene.shown() is None


async def test_of_a_fork_without_previews_nothing_is_asked(scene: Scene) -> None:
    await scene.configure(paths=("**",))
    scene.forge.open(42, A, head_repository="eve/guestbook")
    await scene.hint()
    assert {"content", "changed_paths"}.isdisjoint(scene.forge.calls)


@pytest.mark.parametrize("heard", [True, False])
async def test_a_close_after_long_silence_of_the_forge_is_looked_at_at_once(scene: Scene, *, heard: bool) -> None:
    """By its webhook, or else by the slow reconciliation."""
    await scene.configure(reconcile_every=300.0)
    await lives(scene)
    scene.forge.failing = {"content": [Transient("no answer")] * 500}
    scene.forge.change(42, head_sha=B)
    await scene.say(42)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(hours=2))
    assert await scene.shown() == A
    scene.forge.change(42, state="closed")
    if heard:
        await scene.hint()
    else:
        await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + 6 * MINUTE)
    assert await scene.shown() is None


@pytest.mark.parametrize("heard", [True, False])
async def test_a_close_is_found_while_a_look_is_blocked(scene: Scene, *, heard: bool) -> None:
    """Somebody has mended it, and has told nobody."""
    await scene.configure(reconcile_every=300.0)
    await lives(scene)
    scene.forge.failing["pull"] = [NO_RIGHT]
    scene.forge.change(42, head_sha=B)
    await scene.say(42)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(seconds=1))
    assert (await scene.pull()).troubles["look"].block == KEY
    scene.forge.change(42, state="closed")
    if heard:
        await scene.hint()
    else:
        await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + 6 * MINUTE)
    assert await scene.shown() is None
    assert await scene.world.store.blocks() == ()


async def test_a_forge_that_has_named_a_time_is_left_in_peace_until_then(scene: Scene) -> None:
    await scene.configure(reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.failing["pull"] = [Transient("too many calls", retry_after=timedelta(minutes=30))]
    scene.forge.change(42, state="closed")
    await scene.hint()
    asked = scene.forge.calls.count("pull")
    for _ in range(3):
        await scene.hint()
    assert scene.forge.calls.count("pull") == asked
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + 30 * MINUTE)
    assert await scene.shown() is None


@pytest.mark.parametrize(
    "content", [b'"\\ud800": 1', b"ttl: 2001-13-45", b"inputs: {greeting: .nan}", b"a: &a [*a]", b"[" * 300_000]
)
async def test_a_file_that_cannot_be_kept_is_told_and_closing_wins(scene: Scene, content: bytes) -> None:
    await scene.configure(repository_inputs=("greeting",), reconcile_every=86_400.0)
    await lives(scene)
    scene.forge.files[FILE] = content
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert await scene.shown() == A
    assert "Preview: invalid" in comment(scene)
    assert (await scene.pull()).troubles == {}
    scene.forge.files[FILE] = b"drafts: false"
    scene.forge.change(42, head_sha=C)
    await scene.hint()
    assert await scene.shown() == C
    scene.forge.files[FILE] = content
    scene.forge.change(42, head_sha="d" * 40, state="closed")
    await scene.hint()
    assert await scene.shown() is None

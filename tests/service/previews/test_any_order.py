"""In whatever order things happen and are heard of, twice or never, with a forge that fails: in the end each pull
request has the preview that it should have, and nothing else is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.service.previews.test_previews import FORGE, Scene
from twin.domain.errors import Transient
from twin.domain.targets import Target
from twin.domain.twin import ENVIRONMENT
from twin.testing.world import open_world

What = Literal["open", "push", "close", "merge", "reopen", "draft", "ready", "hear", "fail", "lose", "wait"]
CALLS = ("pull", "open_pulls", "put_comment", "report", "deploy", "content")


class Happening(Struct, frozen=True):
    """`hears`: how often a webhook comes of it: never, once, or doubled."""

    what: What
    number: int
    hears: int
    call: str


happenings = st.lists(
    st.builds(
        Happening,
        st.sampled_from(["open", "push", "close", "merge", "reopen", "draft", "ready", "hear", "fail", "lose", "wait"]),
        st.integers(1, 3),
        st.integers(0, 2),
        st.sampled_from(CALLS),
    ),
    min_size=3,
    max_size=12,
)


def happen(scene: Scene, each: Happening, sha: str) -> None:
    """At the forge."""
    pull = scene.forge.pulls.get(each.number)
    changes: dict[What, dict[str, Any]] = {
        "push": {"head_sha": sha},
        "close": {"state": "closed"},
        "merge": {"state": "merged"},
        "reopen": {"state": "open"},
        "draft": {"draft": True},
        "ready": {"draft": False},
    }
    if each.what == "fail":
        scene.forge.failing.setdefault(each.call, []).append(Transient("the forge does not answer"))
    elif each.what == "lose":
        scene.forge.losing.setdefault(each.call, []).append(Transient("the answer is lost"))
    elif pull is None:
        scene.forge.open(each.number, sha)
    elif each.what in changes and not (each.what in ("close", "merge") and pull.is_over):
        scene.forge.change(each.number, **changes[each.what])


async def live(given_: list[Happening]) -> None:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        scene = Scene(world)
        await scene.configure(max_live=2)
        for count, each in enumerate(given_):
            happen(scene, each, f"{count:x}".rjust(40, "a"))
            for _ in range(each.hears):
                await scene.say(each.number)
            if each.what in ("wait", "hear"):
                await scene.settle()
        # The forge is well again; whoever was not heard is found by reconciliation, and a slot comes to all in turn.
        scene.forge.failing.clear()
        scene.forge.losing.clear()
        await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=1))
        await check(scene)
        for number in scene.forge.pulls:
            scene.forge.change(number, state="closed")
        await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=1))
        await check(scene)
        assert world.outside.standing == {}, "nothing is left"


async def check(scene: Scene) -> None:
    """Each has what it should have, as far as there are slots; nothing that is not its own lives."""
    wanted = {n: pull.head_sha for n, pull in scene.forge.pulls.items() if not pull.is_over and not pull.draft}
    page = await scene.world.store.entities(ENVIRONMENT.kind, project="shop")
    shown = {row.name: row.state.desired.components["app"].inputs["source"]["ref"] for row in page.items}
    assert len(shown) == min(2, len(wanted)), (shown, wanted)
    assert shown.items() <= {f"pr-{number}": sha for number, sha in wanted.items()}.items()
    for number, thread in scene.forge.threads.items():
        assert len(thread) == 1, f"#{number} has one comment"
    for number, sha in wanted.items():
        said = scene.forge.statuses[sha].outcome
        assert said == ("success" if f"pr-{number}" in shown else "pending"), number


@given(happenings)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_end_is_right_whatever_came_before(given_: list[Happening]) -> None:
    asyncio.run(live(given_))

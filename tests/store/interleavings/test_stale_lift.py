"""A worker has read that a block's task is due; before it delivers, another has lifted the block, tried, and raised it
anew. What was read is stale: the new block is nobody's to lift but a human's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.interleavings.exploring import Tally, explore
from tests.store.interleavings.invariants import Broken, judge
from tests.store.interleavings.scene import BLOCK, Act, Cast, Scene, run
from tests.store.interleavings.stepping import Played, Rewrite
from twin.domain.errors import Blocked
from twin.ports.store import EventFilter

MOST = 300


def _relapse(rewrite: Rewrite = str) -> Callable[[Act], Cast]:
    def prepare(act: Act) -> Cast:
        act.rewrite = rewrite
        env = act.create()
        act.block(env)
        act.resolve()

        def relapse() -> None:
            act.fire()
            for task in act.claim("w3"):
                act.world.fail("cache.apply", Blocked("no more", key=BLOCK, mend="raise it"))
                act.step("w3", task)

        return {"fire": act.fire, "relapse": relapse}

    return prepare


def _judge(act: Act, played: Played) -> None:
    judge(act, played)
    (env,) = act.environments
    events = run(act.scene.store.events(EventFilter(entity=env), limit=100)).items
    if [event.type for event in events].count("failures_cleared") != 1:
        raise Broken(f"resolved once, lifted otherwise: {[event.type for event in events]}")


def test_a_block_is_lifted_once_for_each_time_it_is_resolved(scene: Scene, report: Callable[[Tally], None]) -> None:
    tally = explore(scene.play(_relapse(), _judge), MOST)
    report(tally)
    assert tally.complete


def test_without_looking_again_it_is_lifted_twice(scene: Scene) -> None:
    def unseen(text: str) -> str:
        """The task's row is taken as due, whatever it says."""
        return text.replace("tasks.due_at <=", "0 <=") if text.startswith("UPDATE tasks SET due_at=") else text

    with pytest.raises(Broken, match="lifted otherwise"):
        explore(scene.play(_relapse(unseen), _judge), MOST)

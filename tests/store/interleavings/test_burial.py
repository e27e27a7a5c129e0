"""A worker that fell silent and is back is not forgotten: what it claims next would be taken for a dead one's."""

from __future__ import annotations

from collections.abc import Callable

from tests.store.interleavings.exploring import Tally, explore
from tests.store.interleavings.invariants import Broken, judge
from tests.store.interleavings.scene import Act, Scene
from tests.store.interleavings.situations import only
from tests.store.interleavings.stepping import Played


def test_a_worker_that_has_beaten_is_not_buried(scene: Scene, report: Callable[[Tally], None]) -> None:
    def known(act: Act, played: Played) -> None:
        judge(act, played)
        if not scene.monitor.execute("SELECT FROM workers WHERE name = 'w1'").fetchall():
            raise Broken(f"w1 has beaten and is buried\n{played}")

    report(explore(scene.play(only("claimed", "reap", "beat"), known), 50))

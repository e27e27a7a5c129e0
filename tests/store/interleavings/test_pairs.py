"""Any two transactions that meet at a twin, in every order of their statements that can matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.store.interleavings.exploring import Tally, explore, sample
from tests.store.interleavings.invariants import judge
from tests.store.interleavings.scene import Scene
from tests.store.interleavings.situations import SITUATIONS, only

MOST = 400
"""Schedules of one pair; a pair that has more orders fails, for it is to be exhaustive."""


def pairs() -> Iterator[Any]:
    for situation, (names, _) in SITUATIONS.items():
        for one, other in combinations(names, 2):
            twin = one == other.removesuffix("2")  # what `reap` and `reap2` do to a third is the same
            if not one.endswith("2") and (twin or not other.endswith("2")):
                yield pytest.param(situation, one, other, id=f"{situation}-{one}-{other}")


@pytest.mark.parametrize(("situation", "one", "other"), list(pairs()))
def test_a_pair_holds_in_every_order(
    scene: Scene, situation: str, one: str, other: str, report: Callable[[Tally], None]
) -> None:
    tally = explore(scene.play(only(situation, one, other), judge), MOST)
    report(tally)
    assert tally.complete


def test_a_random_order_is_one_of_those_explored(scene: Scene) -> None:
    play = scene.play(only("due", "scale", "eager"), judge)
    explored, met = explore(play, MOST), sample(play, seed=1, times=20)
    assert met.orders <= explored.orders
    assert len(explored.orders) == explored.schedules, "no order is played twice"

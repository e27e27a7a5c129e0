"""Three and four transactions at once, in a seeded sample of their orders.

Of two threes every order is played; `TWIN_INTERLEAVINGS=50` plays 50 times more samples, and every order of others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.store.interleavings.exploring import Tally, explore, sample
from tests.store.interleavings.invariants import judge
from tests.store.interleavings.scene import Scene
from tests.store.interleavings.situations import SITUATIONS, only

TIMES = 2
MORE = int(os.environ.get("TWIN_INTERLEAVINGS", "1"))
CASTS = 2 * MORE


WHOLE = [
    ("failing", "blocked", "resolve", "resolve2"),
    ("failing", "blocked", "resolve", "retry"),
    ("due", "scale", "destroy", "claim"),
    ("asked", "keyed", "keyed2", "other"),
    ("resolved", "fire", "fire2", "retry"),
    ("expired", "fire", "finish", "extend"),
    ("running", "finish", "reap", "eager"),
]


@pytest.mark.parametrize("cast", WHOLE[: 2 if MORE == 1 else None], ids="-".join)
def test_three_hold_in_every_order(scene: Scene, cast: tuple[str, ...], report: Callable[[Tally], None]) -> None:
    tally = explore(scene.play(only(*cast), judge), 300)
    report(tally)
    assert tally.complete


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_crowd_holds_in_sampled_orders(
    scene: Scene, situation: str, size: int, report: Callable[[Tally], None]
) -> None:
    whole = Tally(complete=False)
    for seed in range(CASTS):
        names, _ = SITUATIONS[situation]
        chosen = random.Random(f"{situation}{size}{seed}").sample(names, size)
        tally = sample(scene.play(only(situation, *chosen), judge), seed, TIMES)
        whole.schedules += tally.schedules
        whole.waits += tally.waits
        whole.orders |= {frozenset({(seed,), *order}) for order in tally.orders}
    report(whole)

"""A forge that says when to come again is not asked before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twin.domain.errors import Blocked, StepFailure, Transient
from twin.forges.pausing import Pause


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def left(pause: Pause) -> float:
    """Seconds; 0 if there is none."""
    try:
        pause.check()
    except Transient as asked:
        return asked.retry_after.total_seconds() if asked.retry_after is not None else -1
    return 0


def after(seconds: float) -> Transient:
    return Transient("limited", retry_after=timedelta(seconds=seconds))


def test_it_lasts_as_long_as_was_asked_for_and_no_longer() -> None:
    clock = Clock()
    pause = Pause("github/main", clock)
    assert left(pause) == 0
    failure = after(90)
    assert pause.heed(failure) is failure
    assert left(pause) == 90
    clock.now += 60
    assert left(pause) == 30
    clock.now += 30
    assert left(pause) == 0


def test_of_several_answers_the_longest_counts() -> None:
    """Calls that were on their way at the same time are refused each with what is left by then."""
    clock = Clock()
    pause = Pause("github/main", clock)
    pause.heed(after(90))
    pause.heed(after(5))
    assert left(pause) == 90


@pytest.mark.parametrize("failure", [Transient("no answer"), after(0), Blocked("refused", key="k", mend="m")])
def test_what_asks_for_no_time_stops_nothing(failure: StepFailure) -> None:
    pause = Pause("github/main", Clock())
    pause.heed(failure)
    assert left(pause) == 0

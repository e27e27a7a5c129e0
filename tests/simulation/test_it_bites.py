"""The simulator finds what it is there to find: bugs planted in a copy of the sources break a rule within few lives."""

from __future__ import annotations

import pytest

from tests.simulation.planted import BOUND, BUGS, Bug, found


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name.replace(" ", "-") for bug in BUGS])
def test_a_planted_bug_is_found(bug: Bug) -> None:
    first = found(bug, [bug.seed])
    assert first or found(bug, range(1, BOUND + 1)), f"nothing notices: {bug.name}"


def test_there_are_bugs_of_many_kinds() -> None:
    assert len({bug.name for bug in BUGS}) >= 15

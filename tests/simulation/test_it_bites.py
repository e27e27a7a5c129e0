"""The simulator finds what it is there to find: a bug planted in a copy of the sources breaks a rule within few lives,
and the very same life without it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.planted_pulls import BUGS_OF_PULLS
from tests.simulation.planting import Bug, Catch, hunt, without

ALL = (*BUGS, *BUGS_OF_PULLS)
Hunts = Mapping[str, Future[tuple[Catch | None, str]]]


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest) -> Iterator[Hunts]:
    """The hunts of this session, in the order of its tests, two at a time."""
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    chosen: list[Bug] = [call.params["bug"] for call in calls if "bug" in call.params]
    pool = ThreadPoolExecutor(2)
    yield {bug.name: pool.submit(_hunt, bug) for bug in chosen}
    pool.shutdown(cancel_futures=True)


def _hunt(bug: Bug) -> tuple[Catch | None, str]:
    """The catch, and what is broken in the same life without the bug."""
    catch = hunt(bug)
    return catch, without(bug.faults, bug.pulls, catch.seed) if catch is not None else ""


@pytest.mark.parametrize("bug", ALL, ids=[bug.name.replace(" ", "-") for bug in ALL])
def test_a_planted_bug_is_found(bug: Bug, hunts: Hunts) -> None:
    catch, broken_without = hunts[bug.name].result()
    assert catch is not None, f"nothing notices: {bug.name}"
    assert catch.rule not in _EXCUSES, f"{bug.name} breaks {catch.rule}: the simulator fell over it and found nothing"
    assert broken_without == "", "the same life breaks a rule without the bug, too"


def test_there_are_bugs_of_many_kinds() -> None:
    assert len({bug.name for bug in BUGS}) >= 30
    assert len({bug.name for bug in BUGS_OF_PULLS}) >= 6


_EXCUSES = ("nothing can ever happen any more", "an error that nobody looked at")
"""Rules that a patch breaks which only spoils the sources."""

"""`kill -9` at every boundary of a COMMIT in the life of an environment, and a clock that is set back in it.

The thirty kills of a whole service (`tests/acceptance/test_kill.py`) strike at random; here none is left out.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

FEWEST = 10
"""COMMITs of such a life: three signals with a step each, a sweep, the start and the end."""


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What became of each; those of one module, for they cost some time."""
    folder = tmp_path_factory.mktemp("lives") / "lives"
    command = [sys.executable, "-W", "error", "-m", "tests.acceptance.faults.dying", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_at_every_commit_a_kill_loses_nothing_and_doubles_nothing(lives: list[dict[str, Any]]) -> None:
    deaths = [life for life in lives if life["died"] == -signal.SIGKILL]
    assert len({life["n"] for life in deaths}) >= FEWEST
    for when in ("before", "after"):
        numbers = [life["n"] for life in deaths if life["when"] == when]
        assert numbers == list(range(1, len(numbers) + 1)), "none is left out"
    for life in lives:
        _check(life)


def test_a_clock_that_is_set_back_stops_nothing(lives: list[dict[str, Any]]) -> None:
    (life,) = [life for life in lives if life["n"] == 0]
    assert life["died"] == 0, "signals, steps and leases go on while the clock is behind the history"
    _check(life)


def _check(life: dict[str, Any]) -> None:
    assert life["again"] == 0, ("who comes after goes on to the end", life)
    assert life["environments"] == 1, ("the same key is the same environment", life)
    assert len(life["accepted"]) == 3, ("no signal is lost or taken twice", life)
    assert life["ended"] == life["accepted"], ("each ended once", life)
    assert set(life["acknowledged"]) <= set(life["accepted"]), life
    assert life["status"] == ["destroyed"], life
    assert life["standing"] == [], life
    assert len(life["made"]) == len(set(life["made"])) == 1, ("one thing, made once", life)
    assert life["findings"] == 0, life
    assert life["ordered"], ("the time of events never goes back", life)

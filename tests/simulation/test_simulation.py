"""A bounded share of simulated life on every change. `make simulate SEEDS=0..99` lives longer ones."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable

import pytest

from tests.simulation.command import simulator

DENSE = ("--environments", "6", "--days", "3", "--pace", "0.4")
WIDE = ("--environments", "50", "--days", "250", "--pace", "7")


def test_busy_lives_under_all_faults_keep_every_rule(measured: Callable[[str], None]) -> None:
    done = simulator("--seeds", "1..30", *DENSE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    measured(done.stdout.splitlines()[-1])


@pytest.mark.timeout(1500)
def test_two_thousand_days_of_fifty_that_sleep_most_of_the_time_keep_every_rule(
    measured: Callable[[str], None],
) -> None:
    """What it takes of processors is told and not judged: other work beside it makes it more."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = simulator("--seeds", "1..8", *WIDE, timeout=1480.0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.count("holds") == 8
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    measured(f"{done.stdout.splitlines()[-1]}; {spent:.0f} s of processors")


@pytest.mark.parametrize("pulls", ["0", "2"])
def test_a_seed_is_the_same_life_every_time(pulls: str) -> None:
    lives = [simulator("--seeds", "7", *DENSE, "--pulls", pulls).stdout for _ in range(2)]
    first, second = (re.findall(r"seed 7: .* ([0-9a-f]{16}):", life) for life in lives)
    assert first == second != []


def test_pull_requests_of_busy_lives_keep_every_rule(measured: Callable[[str], None]) -> None:
    """Beside the few that the busy lives above have: these have little else."""
    done = simulator("--seeds", "101..108", "--environments", "2", "--days", "2", "--pace", "0.3", "--pulls", "3")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    lived = [tuple(map(int, each)) for each in re.findall(r"(\d+) pull requests, (\d+) previews", done.stdout)]
    assert len(lived) == 8
    assert min(lived) >= (3, 2), "each life has some"
    measured(f"pull requests: {done.stdout.splitlines()[-1]}")


def test_another_seed_is_another_life() -> None:
    done = simulator("--seeds", "1..2", "--environments", "2", "--days", "0.2", "--pace", "0.4")
    digests = re.findall(r"([0-9a-f]{16}): holds", done.stdout)
    assert len(set(digests)) == 2

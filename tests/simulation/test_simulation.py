"""A bounded share of simulated life on every change. `make simulate SEEDS=0..99` lives longer ones."""

from __future__ import annotations

import re

from tests.simulation.command import simulator

DENSE = ("--environments", "6", "--days", "3", "--pace", "0.4")
WIDE = ("--environments", "50", "--days", "100", "--pace", "20")


def test_long_lives_of_many_that_sleep_most_of_the_time_keep_every_rule() -> None:
    done = simulator("--seeds", "1..2", *WIDE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    print(done.stdout.splitlines()[-1])  # noqa: T201 - the rate, for the report of CI


def test_a_seed_is_the_same_life_every_time() -> None:
    lives = [simulator("--seeds", "7", *DENSE).stdout for _ in range(2)]
    first, second = (re.findall(r"seed 7: .* ([0-9a-f]{16}):", life) for life in lives)
    assert first == second != []


def test_another_seed_is_another_life() -> None:
    done = simulator("--seeds", "1..2", "--environments", "2", "--days", "0.2", "--pace", "0.4")
    digests = re.findall(r"([0-9a-f]{16}): holds", done.stdout)
    assert len(set(digests)) == 2

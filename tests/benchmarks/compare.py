"""Names what has become worse than the committed result by more than noise.

    python -m tests.benchmarks.compare [NEW.json [OLD.json]]

Without NEW, Twin's own figures are measured anew (the peers are not); without OLD, the newest of `results/` is meant.
Ends with 1 if there are regressions.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.benchmarks.figures import Metric, at, metrics

RESULTS = Path(__file__).parent / "results"

TOLERANCE = 0.15
"""A change of so much is noise in any figure: another day, another neighbour."""

SPREADS = 3.0
"""A change of so many spreads, those of both runs added, is noise in a figure that varies more."""


class Change(Struct, frozen=True):
    """A figure then and now; `worse` is relative: 0.2 is a fifth worse, whichever direction is better."""

    name: str
    then: float
    now: float
    worse: float
    allowed: float

    @property
    def regression(self) -> bool:
        """Whether it is worse beyond noise."""
        return self.worse > self.allowed


def changes(old: dict[str, Metric], new: dict[str, Metric], *, machine: float = 1.0) -> list[Change]:
    """What both have measured, the worst first. `machine`: how much slower the floor was now than then."""
    found = []
    for name in old.keys() & new.keys():
        then, now = old[name], new[name]
        if then.value <= 0 or now.value <= 0:
            continue
        ratio = now.value / then.value if now.better == "lower" else then.value / now.value
        counted = name.startswith(("c:", "j:"))  # bytes and commits do not depend on the machine's speed
        worse = ratio / (1.0 if counted else max(1.0, machine)) - 1.0
        allowed = max(TOLERANCE, SPREADS * (then.noise + now.noise))
        found.append(Change(name, then.value, now.value, worse, allowed))
    return sorted(found, key=lambda change: -change.worse)


def slower(old: dict[str, Any], new: dict[str, Any]) -> float:
    """How much slower the bare endpoint was now: a floor that no change of Twin moves."""
    then, now = (at(each, "rest", "bare", "reads", "per_second") for each in (old, new))
    return float(then / now) if then and now else 1.0


def newest(directory: Path = RESULTS) -> Path:
    """The committed result of the latest date."""
    return max(directory.glob("*.json"))


def main() -> int:
    """Compare, tell, and judge."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("new", type=Path, nargs="?")
    arguments.add_argument("old", type=Path, nargs="?")
    told = arguments.parse_args()
    old_file = told.old or newest()
    if told.new is None:
        from tests.benchmarks.run import PEERS, as_large_as, measure

        old = json.loads(old_file.read_text())
        new = measure(skip=frozenset(PEERS), quick=False, told=as_large_as(old))
    else:
        new = json.loads(told.new.read_text())
    old = json.loads(old_file.read_text())
    machine = slower(old, new)
    found = changes(metrics(old), metrics(new), machine=machine)
    sys.stdout.write(f"against {old_file.name}; the bare endpoint is {machine:.2f} times as slow as then\n")
    for change in found:
        mark = "REGRESSION" if change.regression else "          "
        sys.stdout.write(
            f"{mark} {change.name}: {change.then:.4g} -> {change.now:.4g} "
            f"({change.worse:+.0%}, noise up to {change.allowed:.0%})\n"
        )
    return int(any(change.regression for change in found))


if __name__ == "__main__":
    sys.exit(main())

"""Making a broken run small: as long as the same rule breaks, with less."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from twin.testing.simulator.setting import Setting
from twin.testing.simulator.simulation import Report, simulate


def shrink(
    report: Report, *, runs: int = 200, seconds: float = 90.0, said: Callable[[str], None] = lambda _: None
) -> Report:
    """The smallest run found within so many tries, and so much real time, that breaks the same rule. Greedy: each
    success starts anew."""
    best, tried = report, {report.setting}
    until = time.monotonic() + seconds
    while runs > 0:
        for candidate in _smaller(best):
            if candidate in tried:
                continue
            tried.add(candidate)
            runs -= 1
            found = simulate(candidate)
            if found.breach is not None and report.breach is not None and found.breach.rule == report.breach.rule:
                best = found
                said(f"smaller: {candidate.command}")
                break
            if runs <= 0 or time.monotonic() > until:
                return best
        else:
            return best
    return best


def _smaller(report: Report) -> Iterator[Setting]:
    """First what saves most. The seed decides all else, so another size is another life: some neighbours are tried."""
    setting = report.setting
    assert report.breach is not None
    days = max(0.01, math.ceil(report.breach.at / 864.0) / 100.0)
    if days < setting.days:
        yield replace(setting, days=days)
    for fewer in sorted({1, 2, setting.environments // 8, setting.environments // 2, setting.environments - 1} - {0}):
        if 0 < fewer < setting.environments:
            for seed in range(setting.seed, setting.seed + 3 + 12 // fewer):  # the smallest lives are soon tried
                yield replace(setting, environments=fewer, seed=seed)
    for pulls in sorted({0, 1, setting.pull_requests - 1}):
        if 0 <= pulls < setting.pull_requests:
            yield replace(setting, pulls=pulls)
    half = len(setting.faults) // 2
    if half > 0:
        yield replace(setting, faults=setting.faults[:half])
        yield replace(setting, faults=setting.faults[half:])
    for kind in setting.faults:
        yield replace(setting, faults=tuple(each for each in setting.faults if each != kind))
    for visits in (0, 1, 2, 4, 8, 16, 64):
        if setting.visits is None or visits < setting.visits:
            yield replace(setting, visits=visits)
    if setting.days > 0.02:
        yield replace(setting, days=round(setting.days / 2, 2))

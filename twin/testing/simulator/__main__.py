"""`python -m twin.testing.simulator --seeds 0..9`: run simulations, report the rate, shrink and show what breaks."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from twin.testing.simulator.setting import ALL_FAULTS, Setting
from twin.testing.simulator.shrink import shrink
from twin.testing.simulator.simulation import Report, simulate

_NO_FAULTS = ("calm", "at the forge", "source changed", "source removed")


def main(arguments: list[str]) -> int:
    """The command; 1 if a rule was broken."""
    given = _parse(arguments)
    first, _, last = given.seeds.partition("..")
    faults = ALL_FAULTS if given.faults == "all" else tuple(f for f in ALL_FAULTS if f in given.faults.split(","))
    settings = [
        Setting(
            seed=seed,
            environments=given.environments,
            days=given.days,
            pace=given.pace,
            visits=given.visits,
            faults=faults,
            pulls=given.pulls,
        )
        for seed in range(int(first), int(last or first) + 1)
    ]
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)  # a run makes much that is soon forgotten, and little that is kept
    began = time.perf_counter()
    broken: Report | None = None
    reports: list[Report] = []
    if given.jobs == 1 or len(settings) == 1:
        for setting in settings:
            reports.append(simulate(setting))
            if (broken := _told(reports[-1])) is not None:
                break
    else:
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("fork")) as pool:
            for report in pool.map(simulate, settings):
                reports.append(report)
                if (broken := _told(report)) is not None:
                    pool.shutdown(cancel_futures=True)
                    break
    _sum_up(reports, time.perf_counter() - began)
    if broken is None:
        return 0
    small = broken if given.as_it_is else shrink(broken, said=_say)
    for line in simulate(small.setting, history=True).history:
        _say(line)
    _say(f"\nIt happens again with:\n  {small.setting.command}")
    return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m twin.testing.simulator", description=__doc__)
    parser.add_argument("--seeds", default="0..3", help="one seed, or the first and the last: 0..9")
    parser.add_argument("--environments", type=int, default=Setting.__struct_defaults__[0])
    parser.add_argument("--days", type=float, default=Setting.__struct_defaults__[1])
    parser.add_argument("--pace", type=float, default=Setting.__struct_defaults__[2], help="days between two visits")
    parser.add_argument("--visits", type=int, default=None, help="no more visits than this")
    parser.add_argument("--faults", default="all", help=f"some of: {','.join(ALL_FAULTS)}; or none")
    parser.add_argument("--pulls", type=int, default=None, help="pull requests; else every eighth seed has some")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--as-it-is", action="store_true", help="show what breaks without making it smaller")
    return parser.parse_args(arguments)


def _told(report: Report) -> Report | None:
    """Say a line of the report; give it back if a rule was broken in it."""
    what = "holds" if report.breach is None else f"BROKEN: {report.breach.rule}: {report.breach.detail}"
    faults = sum(count for kind, count in report.faults.items() if kind not in _NO_FAULTS)
    pulls = f"{report.pulls} pull requests, {report.previews} previews, " if report.setting.pull_requests else ""
    _say(
        f"seed {report.setting.seed}: {report.events} events, {report.operations} operations, {pulls}{faults} faults, "
        f"{report.seconds:.1f} s, {report.digest[:16]}: {what}"
    )
    return report if report.breach is not None else None


def _sum_up(reports: list[Report], seconds: float) -> None:
    days = sum(report.setting.days for report in reports)
    events = sum(report.events for report in reports)
    commits = sum(report.commits for report in reports)
    _say(
        f"{days:g} days of {reports[0].setting.environments} environments in {seconds:.1f} s: "
        f"{days / seconds:.1f} days/s, {commits / seconds:.0f} transactions/s, {events / seconds:.0f} events/s"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is chance, too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "twin.testing.simulator", *sys.argv[1:]])  # noqa: S606
    sys.exit(main(sys.argv[1:]))

"""What `compare` calls a regression, and what it calls noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.compare import changes, newest, slower
from tests.benchmarks.figures import Metric, metrics, ratios
from tests.benchmarks.load import percentile, spread
from tests.benchmarks.run import as_large_as


@pytest.mark.parametrize(
    ("better", "then", "now", "noise", "machine", "regression", "reason"),
    [
        ("lower", 10.0, 11.0, 0.0, 1.0, False, "a tenth is noise"),
        ("lower", 10.0, 13.0, 0.0, 1.0, True, "three tenths are not"),
        ("lower", 10.0, 5.0, 0.0, 1.0, False, "better is never worse"),
        ("higher", 100.0, 70.0, 0.0, 1.0, True, "fewer per second is worse"),
        ("higher", 100.0, 200.0, 0.0, 1.0, False, "more per second is better"),
        ("lower", 10.0, 13.0, 0.1, 1.0, False, "the figure varies as much by itself"),
        ("lower", 10.0, 13.0, 0.0, 1.3, False, "so much slower was the machine"),
        ("lower", 10.0, 13.0, 0.0, 0.5, True, "a faster machine excuses nothing"),
    ],
)
def test_what_is_worse_beyond_noise(
    better: str, then: float, now: float, noise: float, machine: float, regression: bool, reason: str
) -> None:
    old, new = ({"x": Metric("x", value, better, noise / 2)} for value in (then, now))  # type: ignore[arg-type]
    (change,) = changes(old, new, machine=machine)
    assert change.regression is regression, reason


def test_counted_figures_are_the_same_on_a_slow_machine() -> None:
    old, new = ({"j: commits": Metric("j: commits", value, "lower")} for value in (2.0, 3.0))
    (change,) = changes(old, new, machine=2.0)
    assert change.regression


def test_what_only_one_has_measured_is_not_compared() -> None:
    assert changes({"x": Metric("x", 1.0, "lower")}, {"y": Metric("y", 1.0, "lower")}) == []


def test_the_worst_comes_first() -> None:
    old = {name: Metric(name, 10.0, "lower") for name in ("good", "bad")}
    new = {"good": Metric("good", 9.0, "lower"), "bad": Metric("bad", 20.0, "lower")}
    assert [each.name for each in changes(old, new)] == ["bad", "good"]


def test_the_committed_result_can_be_read_and_compared_with_itself() -> None:
    result = json.loads(newest().read_text())
    assert metrics(result)
    assert ratios(result)
    assert slower(result, result) == 1.0
    assert not any(change.regression for change in changes(metrics(result), metrics(result)))


def test_what_failed_is_reported_as_not_measured() -> None:
    held = [each.holds for each in ratios({"signals": {"error": "it broke"}, "peers": {}})]
    assert held
    assert not any(held)


def test_the_newest_result_is_the_one_of_the_latest_date(tmp_path: Path) -> None:
    for name in ("2026-11-23.json", "2027-01-01.json", "2026-12-31.json"):
        (tmp_path / name).write_text("{}")
    assert newest(tmp_path).name == "2027-01-01.json"


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.25, 0.5, 0.99)] == [1.0, 2.0, 4.0]
    assert spread([1.0, 1.0, 1.0]) == 0.0


def test_queries_of_logs_of_different_sizes_are_not_compared() -> None:
    few, many = ({"audit": {"events": n, "filters": {"time": {"p50_ms": 1.0 * n}}}} for n in (1_000, 10_000))
    assert changes(metrics(few), metrics(many)) == []
    assert [change.regression for change in changes(metrics(few), metrics(few))] == [False]


def test_a_comparison_measures_in_the_sizes_of_the_committed_result() -> None:
    told = as_large_as({"sleepers": {"counts": {"0": {}, "7": {}, "90": {}}}, "audit": {"events": 5}})
    assert (told.sleepers, told.events) == ("7,90", 5)
    assert as_large_as({}).events == 1_000_000

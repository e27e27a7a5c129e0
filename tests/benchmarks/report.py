"""docs/benchmarks.md and its chart, from a result.

python -m tests.benchmarks.report [RESULT.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.chart import chart
from tests.benchmarks.figures import at, ratios
from tests.benchmarks.machine import PROJECT

Json = dict[str, Any]
INTRODUCTION = (
    "Written by `make bench`; do not edit. Twin and its peers do the same work: *an entity receives a signal, runs one "
    "durable no-op step, state and history are saved, the caller sees the result*."
)
MARKS = {True: "yes", False: "**no**", None: ""}
NOTES = Path(__file__).parent / "notes.md"
"""What the figures mean and why some miss: by people, and in the page as it stands here."""


def page(result: Json) -> str:
    """The page, ratios first."""
    lines = [
        "# Benchmarks",
        "",
        INTRODUCTION,
        "",
        "## Ratios",
        "",
        "| | Figure | Target | Measured | Held |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {r.letter} | {r.what} | {r.target} | {r.measured} | {MARKS[r.holds]} |" for r in ratios(result)]
    lines += ["", "## Side by side", "", "![Twin and its peers](benchmarks.svg)", ""]
    lines += ["| | p50 | p99 | 64 in flight | p50 then |", "| --- | --- | --- | --- | --- |"]
    for name, each in subjects(result):
        if "error" in each:
            lines.append(f"| {name} | could not be measured: {each['error']} | | | |")
            continue
        alone, loaded = each["sequential"], each["loaded"]
        lines.append(
            f"| {name} | {alone['p50_ms']:.1f} ms | {alone['p99_ms']:.1f} ms | {loaded['per_second']:.0f}/s "
            f"| {loaded['p50_ms']:.0f} ms |"
        )
    if floor := at(result, "floors", "commits"):
        lines.append(
            f"| *floor: a bare SQLite commit, FULL* | {floor['p50_ms']:.2f} ms | {floor['p99_ms']:.2f} ms "
            f"| {floor['per_second']:.0f}/s | |"
        )
    if bare := at(result, "rest", "bare"):
        lines += ["", "## REST", "", "| | reads | signals accepted | signals to result |", "| --- | --- | --- | --- |"]
        lines.append(
            f"| Litestar, bare | {bare['reads']['per_second']:.0f}/s | {bare['signals']['per_second']:.0f}/s | |"
        )
        twin = result["rest"]["twin"]
        rates = " | ".join(f"{twin[name]['per_second']:.0f}/s" for name in ("reads", "signals", "to_result"))
        lines.append(f"| Twin | {rates} |")
    if filters := at(result, "audit", "filters"):
        lines += ["", f"## Audit queries at {result['audit']['events']:,} events", ""]
        lines.append(f"Pages of 100 events; the file has {result['audit']['gigabytes']:.1f} GB.")
        lines += ["", "| Filter | p50 | p99 |", "| --- | --- | --- |"]
        lines += [f"| {name} | {each['p50_ms']:.1f} ms | {each['p99_ms']:.1f} ms |" for name, each in filters.items()]
    about = result["machine"]
    versions = {name: v for each in result["peers"].values() for name, v in each.get("versions", {}).items()}
    lines += [
        "",
        "## Machine",
        "",
        f"{about['cores']} cores of {about['cpu']}, {about['memory_gb']} GB, {about['system']}; "
        f"Python {about['python']}, SQLite {about['sqlite']}; Twin at {about['commit']}; {result['date']}; "
        f"{_load(result)}. " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        "",
    ]
    if NOTES.exists():
        lines.append(NOTES.read_text().strip() + "\n")
    return "\n".join(lines)


def _load(result: Json) -> str:
    """How idle the machine was: each program loads it with one or two by itself."""
    programs = [each for each in (*result.values(), *result["peers"].values()) if isinstance(each, dict)]
    loads = [each["load_after"][0] for each in programs if "load_after" in each]
    others = [
        f"{name} at {each['began']}"
        for name, each in result.items()
        if isinstance(each, dict) and each.get("began", result["date"]) != result["date"]
    ]
    told = "".join(f"measured before, {each}; " for each in others)
    told += f"load before the run {result['machine']['load_before']}"
    if not loads:
        return told
    told += f", after its programs {min(loads)} to {max(loads)}"
    if result["machine"]["load_before"] <= 1.0:
        return told
    now = [name for name, each in result.items() if isinstance(each, dict) and each.get("began") == result["date"]]
    of = f"of {', '.join(now)} " if others else ""
    return told + f": **others used the machine meanwhile, so {of}ratios count, and single figures little**"


def subjects(result: Json) -> list[tuple[str, Json]]:
    """Twin and all peers."""
    return [("Twin, SQLite", result.get("signals", {"error": "not run"})), *result["peers"].items()]


def write(result: Json) -> None:
    """Both files."""
    docs = PROJECT / "docs"
    docs.joinpath("benchmarks.md").write_text(page(result))
    measured = [(name, each) for name, each in subjects(result) if "error" not in each]
    latency = [
        (name, each["sequential"]["p50_ms"], f"{each['sequential']['p50_ms']:.1f} ms") for name, each in measured
    ]
    rate = [(name, each["loaded"]["per_second"], f"{each['loaded']['per_second']:.0f}/s") for name, each in measured]
    docs.joinpath("benchmarks.svg").write_text(
        chart(
            [
                ("Signal to result, one after the other: p50 (shorter is better)", latency),
                ("Signals per second, 200 entities, 64 in flight (longer is better)", rate),
            ]
        )
    )


if __name__ == "__main__":
    from tests.benchmarks.compare import newest

    write(json.loads((Path(sys.argv[1]) if len(sys.argv) > 1 else newest()).read_text()))

"""What is drawn from the measurements: ratios with their targets, and the figures that a later run is compared with."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Json = dict[str, Any]


class Ratio(Struct, frozen=True):
    """One promise. `holds` is None where something was not measured."""

    letter: str
    what: str
    target: str
    measured: str
    holds: bool | None


class Metric(Struct, frozen=True):
    """One figure that should not get worse. `noise`: its relative spread within the run."""

    name: str
    value: float
    better: Literal["lower", "higher"]
    noise: float = 0.0


def at(result: Json, *path: str) -> Any:
    """The value at a path, or None if anything on the way is missing or failed."""
    value: Any = result
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def best_peer(result: Json, figure: str, name: str) -> tuple[str, float] | None:
    """The peer that does best: lowest latency, or highest rate."""
    found = [
        (peer, each[figure][name])
        for peer, each in result.get("peers", {}).items()
        if isinstance(at(each, figure, name), float)
    ]
    if not found:
        return None
    return (max if name == "per_second" else min)(found, key=lambda pair: pair[1])


def ratios(result: Json) -> list[Ratio]:
    """Every target of the issue, held or not."""
    made = [
        _against_peer(result, "a", "signal to result, one after the other: p50", "sequential", "p50_ms", 0.25),
        _against_peer(result, "a", "the same: p99", "sequential", "p99_ms", 0.25),
        _against_peer(result, "b", "signals/s, 200 entities, 64 in flight", "loaded", "per_second", 12.0),
        *_sleepers(result),
        *_wakes(result),
        *_audit(result),
        *_kills(result),
        *_rest(result),
        *_overhead(result),
        *_commits(result),
        *_workers(result),
        *_copies(result),
        *_webhooks(result),
    ]
    return [each for each in made if each is not None]


def _missing(letter: str, what: str, target: str) -> Ratio:
    return Ratio(letter, what, target, "not measured", None)


def _against_peer(result: Json, letter: str, what: str, figure: str, name: str, limit: float) -> Ratio:
    more = name == "per_second"
    target = f"{'≥' if more else '≤'} {limit:g} x best peer"
    peer, ours = best_peer(result, figure, name), at(result, "signals", figure, name)
    if peer is None or ours is None:
        return _missing(letter, what, target)
    ratio = ours / peer[1]
    unit = "/s" if more else " ms"
    told = f"{ratio:.2f} x {peer[0]} ({ours:.1f}{unit} to {peer[1]:.1f}{unit})"
    return Ratio(letter, what, target, told, ratio >= limit if more else ratio <= limit)


def _sleepers(result: Json) -> list[Ratio]:
    counts = at(result, "sleepers", "counts")
    if not counts:
        return [_missing("c", "a sleeping entity", "no memory, no CPU, ≤ 2 KB"), _missing("d", "start-up", "≤ +10 %")]
    made = []
    empty = counts["0"]
    for count, each in counts.items():
        if count == "0":
            continue
        memory = (each["rss_bytes"] - empty["rss_bytes"]) / int(count)
        shown = f"{int(count):,}"
        made += [
            Ratio(
                "c",
                f"memory of each of {shown} asleep",
                "none (< 16 B each, or < 1 MiB in all: as two starts differ)",
                f"{memory:.1f} B",
                memory < 16 or memory * int(count) < 2**20,
            ),
            Ratio(
                "c",
                f"CPU with {shown} asleep (with none: {empty['cpu_share']:.2%} of a core)",
                "none more",
                f"{each['cpu_share']:.2%}",
                each["cpu_share"] <= empty["cpu_share"] + 0.005,
            ),
            Ratio(
                "c",
                f"disk of each of {shown} asleep, without history (with: {each['bytes_with_history']:,.0f} B)",
                "≤ 2,048 B",
                f"{each['bytes']:,.0f} B",
                each["bytes"] <= 2048,
            ),
        ]
        for name, what in (("ready_s", "start-up"), ("first_signal_s", "first signal after it")):
            ratio = each[name] / empty[name]
            told = f"{ratio - 1:+.0%} ({each[name] * 1000:.0f} ms to {empty[name] * 1000:.0f} ms)"
            made.append(Ratio("d", f"{what} with {shown} asleep", "≤ empty + 10 %", told, ratio <= 1.1))
    return made


def _wakes(result: Json) -> list[Ratio]:
    lengths = at(result, "wakes", "lengths")
    if not lengths:
        return [_missing("e", "wake by length of history", "flat")]
    short, *longer = (each["p50_ms"] for each in lengths.values())
    worst = max(longer) / short
    told = ", ".join(f"{int(name):,}: {each['p50_ms']:.1f} ms" for name, each in lengths.items())
    return [Ratio("e", "wake by length of history", "flat (≤ +10 %)", f"{worst - 1:+.0%} ({told})", worst <= 1.1)]


def _audit(result: Json) -> list[Ratio]:
    filters = at(result, "audit", "filters")
    if not filters:
        return [_missing("f", "audit queries", "p99 < 50 ms")]
    events = at(result, "audit", "events")
    made = []
    for what, names in (
        ("each filter alone", [name for name in filters if " and " not in name]),
        ("two filters at once", [name for name in filters if " and " in name]),
    ):
        worst = max(names, key=lambda name: filters[name]["p99_ms"])
        told = f"{filters[worst]['p99_ms']:.1f} ms (worst: {worst})"
        shown = f"audit query at {events:,} events, p99, {what}"
        made.append(Ratio("f", shown, "< 50 ms (at 10,000,000)", told, filters[worst]["p99_ms"] < 50))
    export = f"{at(result, 'audit', 'export_per_second'):,.0f} events/s"
    return [*made, Ratio("f", "export", "rate", export, None)]


def _kills(result: Json) -> list[Ratio]:
    lease = at(result, "kills", "lease_s")
    if lease is None:
        return [_missing("g", "`kill -9` to new progress", "< 2 s; within one lease")]
    made = []
    for where, limit, target in (("sqlite", 2.0, "< 2 s"), ("postgres", lease, f"within one lease ({lease:g} s)")):
        each = at(result, "kills", where)
        what = {"sqlite": "`kill -9` to new progress, SQLite, restarted at once", "postgres": "the same, two workers"}
        told = f"{each['p50_s']:.2f} s, worst of {each['kills']:.0f}: {each['worst_s']:.2f} s"
        made.append(Ratio("g", what[where], target, told, each["worst_s"] < limit))
    return made


def _copies(result: Json) -> list[Ratio]:
    what = "p99 of a source's transfers while {} is copied"
    alone, by_hand = (at(result, "copies", which) for which in ("alone", "by_hand"))
    if not alone or not by_hand:
        return [_missing("l", what.format("it"), "ratio")]
    made = []
    for mode in ("full", "masked"):
        each = result["copies"][mode]
        told = (
            f"{each['p99_ms'] / alone['p99_ms']:.1f} x alone, {each['p99_ms'] / by_hand['p99_ms']:.2f} x dump and "
            f"restore by hand ({each['p99_ms']:.1f}, {alone['p99_ms']:.1f}, {by_hand['p99_ms']:.1f} ms)"
        )
        made.append(Ratio("l", what.format(f"{result['copies']['megabytes']:.0f} MB, {mode},"), "ratio", told, None))
        took = f"{each['seconds'] / by_hand['seconds']:.2f} x ({each['seconds']:.1f} s to {by_hand['seconds']:.1f} s)"
        made.append(Ratio("l", f"until that clone is ready, to dump and restore by hand, {mode}", "ratio", took, None))
    return made


DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def _webhooks(result: Json) -> list[Ratio]:
    what, target = "answers to webhooks, p99, and what follows", "reported"
    found = {name: each for name in DATABASES if (each := at(result, "webhooks", name))}
    if not found:
        return [_missing("m", what, target)]
    pulls, burst = result["webhooks"]["pulls"], result["webhooks"]["deliveries"]
    made = []
    for name, each in found.items():
        for how, shown in (("alone", "one webhook at a time"), ("burst", f"a burst of {burst}, 20 at a time")):
            ours, bare = each["twin"][how], each["bare"][how]
            told = ", ".join(
                f"{short} {ours[key] / bare[key]:.2f} x bare endpoint ({ours[key]:.1f} ms to {bare[key]:.1f} ms)"
                for short, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
            )
            if how == "burst":
                told += f", {ours['per_second']:.0f}/s to {bare['per_second']:.0f}/s"
            made.append(Ratio("m", f"answers to {shown}, {DATABASES[name]}", target, told, None))
    for name, each in found.items():
        path, by_hand = each["path"], each["path"]["by_hand"]
        told = (
            f"{path['seconds'] / by_hand['seconds']:.1f} x as many calls by hand ({path['seconds']:.1f} s to "
            f"{by_hand['seconds']:.1f} s), half within {path['p50_s']:.1f} s; of each, {1000 * path['cpu_s_each']:.0f} "
            f"ms of CPU to {1000 * by_hand['cpu_s_each']:.0f} ms and {path['calls_each']:.0f} calls; answers meanwhile "
            f"p99 {path['answers']['p99_ms']:.0f} ms"
        )
        made.append(
            Ratio("m", f"that burst until {pulls} previews are announced, {DATABASES[name]}", target, told, None)
        )
    return made


def _rest(result: Json) -> list[Ratio]:
    made = []
    for name, least in (("reads", 0.5), ("signals", 0.2)):
        ours, bare = (at(result, "rest", which, name, "per_second") for which in ("twin", "bare"))
        if not ours or not bare:
            made.append(_missing("h", f"REST {name}", f"≥ {least} x bare endpoint"))
            continue
        told = f"{ours / bare:.2f} x ({ours:,.0f}/s to {bare:,.0f}/s)"
        made.append(Ratio("h", f"REST {name}", f"≥ {least} x bare endpoint", told, ours / bare >= least))
    return made


def _overhead(result: Json) -> list[Ratio]:
    calls = at(result, "overhead", "calls")
    if not calls:
        return [_missing("i", "overhead over the direct call", "< 5 % or 20 ms")]
    return [
        Ratio(
            "i",
            f"added to a provider's call of {name} ms",
            "< 5 % or 20 ms",
            f"{each['added_ms']:.1f} ms, {each['added_share']:.1%}",
            each["added_ms"] < 20 or each["added_share"] < 0.05,
        )
        for name, each in calls.items()
    ]


def _commits(result: Json) -> list[Ratio]:
    alone, loaded = (at(result, "signals", name, "commits_per_signal") for name in ("sequential", "loaded"))
    if alone is None or loaded is None:
        return [_missing("j", "commits per signal", "2, fewer under load")]
    return [
        Ratio("j", "commits per signal with one step", "2", f"{alone:.2f}", alone <= 2.05),
        Ratio("j", "the same with 64 in flight", "fewer", f"{loaded:.2f}", loaded < alone),
    ]


def _workers(result: Json) -> list[Ratio]:
    workers = at(result, "workers", "workers")
    if not workers:
        return [_missing("k", "PostgreSQL with 1, 2, 4 workers", "signals/s")]
    return [
        Ratio(
            "k",
            f"PostgreSQL, {name} worker{'s' if name != '1' else ''}",
            "signals/s, lock waits",
            f"{each['per_second']:.0f}/s, {each['lock_waits_share']:.1%} of busy sessions waited for a lock",
            None,
        )
        for name, each in workers.items()
    ]


def metrics(result: Json) -> dict[str, Metric]:
    """Twin's own figures by name, with where their noise stands; what was not measured is not there."""
    wanted: list[tuple[str, tuple[str, ...], Literal["lower", "higher"], tuple[str, ...] | None]] = [
        (
            "a: signal to result, p50 ms",
            ("signals", "sequential", "p50_ms"),
            "lower",
            ("signals", "sequential", "noise"),
        ),
        (
            "a: signal to result, p99 ms",
            ("signals", "sequential", "p99_ms"),
            "lower",
            ("signals", "sequential", "noise"),
        ),
        ("b: signals/s", ("signals", "loaded", "per_second"), "higher", ("signals", "loaded", "noise")),
        ("f: exported events/s", ("audit", "export_per_second"), "higher", None),
        ("g: kill to progress, s", ("kills", "sqlite", "p50_s"), "lower", None),
        ("h: REST reads/s", ("rest", "twin", "reads", "per_second"), "higher", ("rest", "twin", "reads", "noise")),
        (
            "h: REST signals/s",
            ("rest", "twin", "signals", "per_second"),
            "higher",
            ("rest", "twin", "signals", "noise"),
        ),
        ("j: commits per signal", ("signals", "sequential", "commits_per_signal"), "lower", None),
    ]
    for name, shown in DATABASES.items():
        place = ("webhooks", name)
        wanted += [
            (
                f"m: webhooks/s, {shown}",
                (*place, "twin", "burst", "per_second"),
                "higher",
                (*place, "twin", "burst", "noise"),
            ),
            (f"m: CPU of a preview, {shown}, s", (*place, "path", "cpu_s_each"), "lower", None),
        ]
    for count in at(result, "sleepers", "counts") or {}:
        place = ("sleepers", "counts", count)
        wanted.append((f"d: start-up with {count} asleep, s", (*place, "ready_s"), "lower", (*place, "ready_s_noise")))
        if count != "0":
            wanted.append((f"c: disk per entity, {count} asleep, B", (*place, "bytes"), "lower", None))
    for length in at(result, "wakes", "lengths") or {}:
        place = ("wakes", "lengths", length)
        wanted.append((f"e: wake at {length} events, ms", (*place, "p50_ms"), "lower", (*place, "noise")))
    wanted += [
        (
            f"f: audit by {name} of {at(result, 'audit', 'events'):,} events, p50 ms",
            ("audit", "filters", name, "p50_ms"),
            "lower",
            None,
        )
        for name in at(result, "audit", "filters") or {}
    ]
    wanted += [
        (f"i: added to {name} ms, ms", ("overhead", "calls", name, "added_ms"), "lower", None)
        for name in at(result, "overhead", "calls") or {}
    ]
    for name in at(result, "workers", "workers") or {}:
        place = ("workers", "workers", name)
        wanted.append((f"k: signals/s, {name} workers", (*place, "per_second"), "higher", (*place, "noise")))
    return {
        name: Metric(name, float(value), better, float(at(result, *noisy) or 0.0) if noisy else 0.0)
        for name, path, better, noisy in wanted
        if isinstance(value := at(result, *path), int | float)
    }

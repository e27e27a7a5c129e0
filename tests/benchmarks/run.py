"""Measures everything, one after the other on an otherwise idle machine, and writes down what came of it.

    python -m tests.benchmarks.run [--quick] [--only "a;b"] [--skip "a;b"] [--sleepers 2000,100000,1000000] [--events N]

Results go to `results/<date>.json` and `docs/benchmarks.md` with its chart; with --quick (tiny sizes, to try the
programs) nowhere. --only measures some anew and keeps the rest of the day's result. All load is on loopback and ends by
itself; scratch data are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks import postgres, report
from tests.benchmarks.figures import at
from tests.benchmarks.machine import PROJECT, machine

HERE = Path(__file__).parent
TOOLS = PROJECT / ".tools"
LONGEST = 2400.0
"""Seconds after which a program is given up."""

Json = dict[str, Any]
PEERS = ("Restate", "DBOS, SQLite", "DBOS, PostgreSQL", "Temporal dev server", "Temporal, local activity")
OURS = ("floors", "signals", "overhead", "rest", "wakes", "kills", "workers", "sleepers", "audit", "copies", "webhooks")


def _program(command: list[str], cwd: Path) -> Json:
    """The last line of what it says; `error` if it fails."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, problem = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"no end after {LONGEST:.0f} s"}
    finally:
        process.kill()  # also when we are asked to end; one that has ended does not mind
        process.wait()
    if process.returncode != 0:
        return {"error": (problem.strip().splitlines() or [f"ended with {process.returncode}"])[-1][:500]}
    found: Json = json.loads(out.strip().splitlines()[-1])
    return found


def _peer(name: str, scratch: Path, url: Callable[[], str], quick: bool) -> Json:
    programs = {
        "Restate": ("restate", ["restate_peer.py", "--server", f"{TOOLS}/restate/node_modules/.bin/restate-server"]),
        "DBOS, SQLite": ("bench-venv", ["dbos_peer.py"]),
        "DBOS, PostgreSQL": ("bench-venv", ["dbos_peer.py", "--database"]),
        "Temporal dev server": ("temporal", ["temporal_peer.py", "--server", f"{TOOLS}/temporal"]),
        "Temporal, local activity": ("temporal", ["temporal_peer.py", "--local", "--server", f"{TOOLS}/temporal"]),
    }
    tool, command = programs[name]
    for needed in ("bench-venv", tool):
        if (TOOLS / f"{needed}.missing").exists() or not (TOOLS / needed).exists():
            reason = TOOLS / f"{needed}.missing"
            return {"error": "not installed: " + (reason.read_text().strip() if reason.exists() else "make bench")}
    if command[-1] == "--database":
        command = [*command, postgres.database(url(), "dbos").replace("+psycopg", "")]
    few = ["--signals", "20", "--seconds", "3", "--warm", "1", "--entities", "64"]
    sizes = few if quick else ["--seconds", "10", "--signals", "100" if tool == "temporal" else "300"]
    scratch.mkdir()
    python = str(TOOLS / "bench-venv/bin/python")
    return _program([python, *command, "--directory", str(scratch), *sizes], HERE / "peers")


def _ours(name: str, scratch: Path, url: Callable[[], str], quick: bool, told: argparse.Namespace) -> Json:
    sizes = {
        "floors": [],
        "signals": ["--seconds", "10"],
        "overhead": [],
        "rest": [],
        "wakes": [],
        "kills": [],
        "workers": [],
        "sleepers": ["--counts", told.sleepers],
        "audit": ["--events", str(told.events)],
        "copies": [],
        "webhooks": [],
    }
    tiny = {
        "signals": ["--signals", "20", "--seconds", "3", "--warm", "1", "--entities", "64"],
        "overhead": ["--calls", "3"],
        "rest": ["--seconds", "2"],
        "wakes": ["--lengths", "10,1000", "--signals", "20"],
        "kills": ["--kills", "1"],
        "workers": ["--workers", "1,2", "--signals", "60"],
        "sleepers": ["--counts", "2000", "--starts", "2", "--idle", "1"],
        "audit": ["--events", "20000", "--queries", "10", "--export", "5000"],
        "copies": ["--scale", "1", "--seconds", "3"],
        "webhooks": ["--rounds", "1", "--pulls", "5", "--alone", "3"],
    }
    scratch.mkdir()
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", str(scratch)]
    command += [url()] if name in ("kills", "workers", "webhooks") else []
    return _program(command + (tiny if quick else sizes).get(name, []), PROJECT)


def measure(
    *,
    only: frozenset[str] = frozenset(),
    skip: frozenset[str] = frozenset(),
    quick: bool,
    told: argparse.Namespace | None = None,
    keep: Json | None = None,
    file: Path | None = None,
) -> Json:
    """Run the programs; what each said, written to `file` after each."""
    told = told or _arguments().parse_args([])
    result: Json = {**(keep or {}), "machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    result.setdefault("peers", {})
    wanted = [each for each in (*OURS[:2], *PEERS, *OURS[2:]) if (not only or each in only) and each not in skip]
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=told.scratch))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        servers: list[str] = []

        def url() -> str:
            if not servers:
                servers.append(stack.enter_context(postgres.server(scratch / "postgres")))
            return servers[0]

        for number, name in enumerate(wanted):
            began, place = time.monotonic(), scratch / str(number)
            if name in PEERS:
                result["peers"][name] = found = _peer(name, place, url, quick)
            else:
                result[name] = found = _ours(name, place, url, quick, told)
            found["began"] = result["date"]
            # What others did meanwhile on the machine: the load that is not the program's own would be near zero.
            found["load_after"] = [round(each, 2) for each in os.getloadavg()[:2]]
            if file is not None:
                _write(file, result)
            said = found.get("error", "measured")
            sys.stderr.write(f"{name}: {said} ({time.monotonic() - began:.0f} s)\n")
            shutil.rmtree(place, ignore_errors=True)
    return result


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--skip", default="")
    arguments.add_argument("--sleepers", default="2000,100000", help="how many entities sleep")
    arguments.add_argument("--events", type=int, default=1_000_000, help="events to search")
    arguments.add_argument("--scratch", type=Path, default=PROJECT / ".tools", help="on a disk, not in memory")
    return arguments


def as_large_as(old: Json) -> argparse.Namespace:
    """Arguments for a run of the sizes of another, so that both can be compared."""
    counts = [count for count in at(old, "sleepers", "counts") or {} if count != "0"]
    events = at(old, "audit", "events")
    sizes = (["--sleepers", ",".join(counts)] if counts else []) + (["--events", str(events)] if events else [])
    return _arguments().parse_args(sizes)


def main() -> None:
    """Measure and write."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # scratch data and the database server go with us
    told = _arguments().parse_args()
    only, skip = (frozenset(filter(None, each.split(";"))) for each in (told.only, told.skip))
    file = HERE / "results" / f"{datetime.now(UTC):%Y-%m-%d}.json"
    keep = json.loads(file.read_text()) if only and file.exists() else None
    target = None if told.quick else file
    result = measure(only=only, skip=skip, quick=told.quick, told=told, keep=keep, file=target)
    if told.quick:
        sys.stdout.write(report.page(result))
    else:
        report.write(result)


def _write(file: Path, result: Json) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

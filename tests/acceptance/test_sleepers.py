"""10,000 sleeping environments cost their rows and nothing else: a service starts, idles and answers as when empty.

Both services run at the same time, so that whatever else the machine does disturbs both alike. The bounds are wide;
the numbers themselves are printed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.service import Service

COUNT = 10_000
MAKE_SECONDS = 90
STARTS = 3
IDLE_SECONDS = 10.0
MEBI = 1024 * 1024

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a number for the person who runs the tests."""

    def out(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {text}")

    return out


@pytest.fixture
def full(tmp_path: Path, say: Say) -> Path:
    """A database with the sleepers. Made in memory, then moved: its commits need not wait for the disk."""
    file = tmp_path / "full" / "twin.db"
    file.parent.mkdir(mode=0o700)
    seconds, on_cpu = _make(file, COUNT, "database")
    say(f"{COUNT} environments made in {seconds:.0f} s, {on_cpu:.0f} s of them on the CPU")
    assert on_cpu < MAKE_SECONDS, "by the CPU's clock: others may be using the machine"
    return file


@pytest.fixture
def services(tmp_path: Path, full: Path) -> Iterator[tuple[Service, Service]]:
    """One twin over nothing and one over the sleepers. No local servers: they are the same for both, and slow."""
    pair = Service(tmp_path / "empty", local="off"), Service(full.parent, local="off")
    yield pair
    for service in pair:
        service.close()


@pytest.mark.timeout(600)  # most of it to make them
def test_sleepers_cost_their_rows_and_nothing_else(services: tuple[Service, Service], full: Path, say: Say) -> None:
    empty, sleepers = services
    rows = _count(full)
    assert rows["environments"] == rows["ready"] == COUNT
    assert rows["tasks"] == rows["timers"] == COUNT / 10, "no row but the timers of those that have a time to live"
    assert rows["due"] == 0

    empty.stop(empty.serve())  # makes its schema, token and key
    sleepers.stop(sleepers.serve())
    starts: tuple[list[float], list[float]] = ([], [])
    for _ in range(STARTS):
        for service, seconds in zip(services, starts, strict=True):
            process = service.serve()
            seconds.append(_on_cpu(psutil.Process(process.pid)))
            service.stop(process)
    fastest = min(starts[0]), min(starts[1])
    say(f"start-up {fastest[0]:.2f} s of a core empty, {fastest[1]:.2f} s with {COUNT} (best of {STARTS})")
    assert fastest[1] < fastest[0] * 1.5, "by the CPU's clock: others may be using the machine"

    running = [psutil.Process(service.serve().pid) for service in services]
    idle = _idle(running)
    memory = [process.memory_info().rss / MEBI for process in running]
    say(f"idle {idle[0]:.3%} of a core empty, {idle[1]:.3%} with {COUNT} (over {IDLE_SECONDS:.0f} s)")
    say(f"memory {memory[0]:.1f} MiB empty, {memory[1]:.1f} MiB with {COUNT}")
    assert max(idle) < 0.005
    assert memory[1] - memory[0] < 5

    # They do sleep there, and answer when they are called, at a price that their number does not change.
    view = sleepers.get(f"/v1/projects/shop/environments/env-{COUNT - 1}")
    assert view["status"] == "ready"
    accepted = sleepers.signal(view["id"], "protect")
    sleepers.succeeded(accepted)
    woken = statistics.median(_timed(lambda: sleepers.signal(view["id"], "protect")) for _ in range(11))
    say(f"a signal is accepted in {woken * 1000:.1f} ms")
    assert len(sleepers.get("/v1/projects/shop/environments", limit=100)["items"]) == 100
    grown = running[1].memory_info().rss / MEBI - memory[1]
    say(f"memory grew by {grown:.1f} MiB in answering")
    assert _count(full)["due"] == 0


def test_what_a_sleeper_weighs(tmp_path: Path, say: Say) -> None:
    for blueprint, components in (("database", 1), ("guestbook", 4)):
        small, large = tmp_path / f"{blueprint}-100.db", tmp_path / f"{blueprint}-500.db"
        _make(small, 100, blueprint)
        _make(large, 500, blueprint)
        whole = (large.stat().st_size - small.stat().st_size) / 400
        bare = (_without_events(large) - _without_events(small)) / 400
        say(f"{blueprint}, {components} components: {whole:,.0f} bytes each on disk, {bare:,.0f} without history")
        assert whole < 40_000
        assert bare < 12_000


def _make(file: Path, count: int, blueprint: str) -> tuple[float, float]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        made = Path(folder) / "twin.db"
        done = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.fleet", str(made), str(count), blueprint],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shutil.move(made, file)
    seconds, on_cpu = map(float, done.stdout.split())
    return seconds, on_cpu


def _count(file: Path) -> dict[str, int]:
    now = time.time_ns() // 1000
    queries = {
        "environments": "SELECT count(*) FROM entities WHERE kind = 'environment' AND live",
        "ready": "SELECT count(*) FROM entities WHERE kind = 'environment' AND status = 'ready'",
        "tasks": "SELECT count(*) FROM tasks",
        "timers": "SELECT count(*) FROM tasks WHERE kind = 'timer'",
        "due": f"SELECT count(*) FROM tasks WHERE due_at <= {now}",
    }
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        found = {name: connection.execute(query).fetchone()[0] for name, query in queries.items()}
    connection.close()
    return found


def _without_events(file: Path) -> int:
    """Bytes of all pages that belong neither to events nor to their indices."""
    with sqlite3.connect(file) as connection:
        for trigger in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger[0]}")
        connection.execute("DROP TABLE events")
        connection.execute("DELETE FROM operations")
    connection.execute("VACUUM")
    connection.close()
    return file.stat().st_size


def _idle(processes: list[psutil.Process]) -> list[float]:
    """The share of a core that each one uses while nothing is asked of it."""
    time.sleep(2)  # what a start leaves behind
    before = [_on_cpu(process) for process in processes]
    began = time.monotonic()
    time.sleep(IDLE_SECONDS)  # this is the measurement: time in which nothing happens
    seconds = time.monotonic() - began
    return [(_on_cpu(p) - was) / seconds for p, was in zip(processes, before, strict=True)]


def _on_cpu(process: psutil.Process) -> float:
    """Seconds that all threads have run; to the nanosecond, where /proc/PID/stat counts in hundredths of a second."""
    files = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began

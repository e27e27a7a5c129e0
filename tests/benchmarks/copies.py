"""(l) What a clone costs its source: pgbench's transfers alone, beside a bare dump and restore, and beside clones.

    python -m tests.benchmarks.copies DIRECTORY [--scale N] [--seconds S]

The floor is pg_dump into pg_restore on the same server, by hand, at the same load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.blueprints import folder
from tests.acceptance.pgbench import PGBENCH, load, percentile, pgbench, times
from tests.acceptance.service import Service

MASKING = "UPDATE pgbench_tellers SET filler = 'masked';\n"


class Bank:
    """A served twin with a filled database, on local servers of its own."""

    def __init__(self, directory: Path, scale: int) -> None:
        self.directory = directory
        self.service = Service(directory / "twin", local="on", slots=8)
        self.service.serve()
        made = folder(directory / "bank", {"db": {"type": "postgres.database", "masking": ["mask.sql"]}}, name="bank")
        (made / "mask.sql").write_text(MASKING)
        self.service.publish(made)
        created = self.service.create("source", "bank")
        self.service.succeeded(created)
        self.environment = created["environment_id"]
        shown = self.service.api.post(
            f"/v1/environments/{self.environment}/credentials/reveal", json={"reason": "to fill it"}
        )
        self.url = str(shown.json()["variables"]["DB_URL"])
        if pgbench(self.url, "-i", "-q", "-s", str(scale), cwd=directory).wait(600) != 0:
            raise RuntimeError("pgbench could not fill the database")
        with psycopg.connect(self.url) as connection:
            (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        self.megabytes = int(size) / 1e6

    def beside(self, name: str, work: Callable[[], None]) -> dict[str, Any]:
        """The source's transfers while something is done, and how long that takes."""
        place = self.directory / name
        with load(self.url, place):
            began = time.monotonic()
            work()
            took = time.monotonic() - began
        of = times(place)
        return {"seconds": took, "p50_ms": percentile(of, 0.5), "p99_ms": percentile(of, 0.99), "transfers": len(of)}

    def clone(self, name: str, data: str) -> None:
        """Until it is ready."""
        accepted = self.service.signal(self.environment, "clone", name=name, tier="dev", data=data)
        self.service.succeeded(accepted, within=600)

    def by_hand(self) -> None:
        """pg_dump into pg_restore, into the clone of nothing that stands ready."""
        accepted = self.service.signal(self.environment, "clone", name="by-hand", tier="dev", data="none")
        self.service.succeeded(accepted, within=60)
        shown = self.service.api.post(
            f"/v1/environments/{accepted['environment_id']}/credentials/reveal", json={"reason": "to copy by hand"}
        )
        there = str(shown.json()["variables"]["DB_URL"])
        # As new as the server; the same wheel has older ones too.
        programs = max(PGBENCH.parent.parent.parent.glob("pginstall[0-9]*/bin"))
        with subprocess.Popen(
            [programs / "pg_dump", "-Fc", "-Z0", "--no-owner", "--no-acl", _dsn(self.url)],
            env=_environ(self.url),
            stdout=subprocess.PIPE,
        ) as dump:
            restore = subprocess.run(
                [programs / "pg_restore", "--no-owner", "--no-acl", "-d", _dsn(there)],
                env=_environ(there),
                stdin=dump.stdout,
                check=False,
            )
        if dump.returncode != 0 or restore.returncode != 0:
            raise RuntimeError(f"by hand: pg_dump {dump.returncode}, pg_restore {restore.returncode}")


def _dsn(url: str) -> str:
    """Without the password, which is no argument."""
    found = psycopg.conninfo.conninfo_to_dict(url)
    return psycopg.conninfo.make_conninfo(**{name: value for name, value in found.items() if name != "password"})


def _environ(url: str) -> dict[str, str]:
    return os.environ | {"PGPASSWORD": str(psycopg.conninfo.conninfo_to_dict(url)["password"])}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--scale", type=int, default=14, help="15 MB each")
    arguments.add_argument("--seconds", type=float, default=15.0, help="how long it is alone")
    told = arguments.parse_args()
    bank = Bank(told.directory, told.scale)
    try:
        result = {
            "megabytes": bank.megabytes,
            "alone": bank.beside("alone", lambda: time.sleep(told.seconds)),
            "by_hand": bank.beside("by-hand", bank.by_hand),
            "full": bank.beside("full", lambda: bank.clone("full", "full")),
            "masked": bank.beside("masked", lambda: bank.clone("masked", "masked")),
        }
        sys.stdout.write(json.dumps(result) + "\n")
    finally:
        bank.service.close()
        stop = [sys.executable, "-m", "api.cli.main", "local", "stop"]
        subprocess.run(stop, env=bank.service.environ, stdout=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main()

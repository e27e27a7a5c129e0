"""A clone of a database that is in use: one moment of it, masked before anybody may see it, and a life of its own."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look, postgres
from tests.acceptance.conftest import Start
from tests.acceptance.leaks import files_below, read
from tests.acceptance.pgbench import load, percentile, pgbench, times
from tests.acceptance.service import Service
from tests.waiting import eventually

SCALE = int(os.environ.get("TWIN_CLONE_SCALE", "14"))
"""Of pgbench: 100,000 accounts, 15 MB each; 14 are more than 200 MB."""

SECRET = "ada.lovelace@example.com"
MASKING = """
UPDATE people SET email = 'person' || id || '@masked.invalid';
ANALYZE people;
"""
BALANCES = """
    SELECT (SELECT sum(delta) FROM pgbench_history), (SELECT sum(bbalance) FROM pgbench_branches),
           (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(abalance) FROM pgbench_accounts)
"""
"""Equal at every moment of pgbench's load, and only if all tables are seen at one."""


def database(path: Path) -> Path:
    """A blueprint of a database with masking."""
    made = folder(path, {"db": {"type": "postgres.database", "masking": ["masking/people.sql"]}}, name="orders")
    (made / "masking").mkdir()
    (made / "masking" / "people.sql").write_text(MASKING)
    return made


def url(service: Service, environment: str) -> str:
    """What an app of the environment would be given."""
    shown = service.api.post(f"/v1/environments/{environment}/credentials/reveal", json={"reason": "to count"})
    return str(shown.json()["variables"]["DB_URL"])


@pytest.fixture
def source(make_service: Start, tmp_path: Path) -> tuple[Service, str]:
    """A twin, and an environment with a filled database."""
    service = make_service()
    service.serve()
    service.publish(database(tmp_path / "orders"))
    created = service.create("staging", "orders")
    service.succeeded(created)
    environment = created["environment_id"]
    where = url(service, environment)
    assert pgbench(where, "-i", "-q", "-s", str(SCALE), cwd=tmp_path).wait(300) == 0
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
        connection.execute("INSERT INTO people VALUES (1, %s)", (SECRET,))
    return service, environment


def clone(service: Service, environment: str, name: str, data: str) -> dict[str, str]:
    """Ask for a clone; what was accepted."""
    accepted = service.signal(environment, "clone", name=name, tier="dev", data=data)
    service.environments.append(accepted["environment_id"])
    return accepted


def consistent(where: str) -> int:
    """The rows of the history, if all tables show one moment."""
    with psycopg.connect(where) as connection:
        (sums,) = connection.execute(BALANCES)
        (counted,) = connection.execute("SELECT count(*) FROM pgbench_history")
        (accounts,) = connection.execute("SELECT count(*) FROM pgbench_accounts")
    assert len({value or 0 for value in sums}) == 1, f"one moment of all tables: {sums}"
    assert accounts[0] == SCALE * 100_000
    return int(counted[0])


def test_a_database_in_use_is_cloned_full_and_masked_and_serves_on(
    source: tuple[Service, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service, environment = source
    where = url(service, environment)
    with psycopg.connect(where) as connection:
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    assert size > SCALE * 14_500_000, "more than 200 MB"
    with load(where, tmp_path / "alone"):
        eventually(lambda: sum(each.stat().st_size for each in (tmp_path / "alone").iterdir()) > 20_000, within=60)
    with load(where, tmp_path / "copied"):
        copies = {data: clone(service, environment, f"copy-{data}", data) for data in ("full", "masked")}
        for accepted in copies.values():
            service.succeeded(accepted, within=240)
        during = consistent(where)
    with capsys.disabled():
        alone, copied = (percentile(times(tmp_path / name), 0.99) for name in ("alone", "copied"))
        print(f"\nclone: p99 of the source {alone:.1f} ms alone, {copied:.1f} ms while copied twice")  # noqa: T201

    for data, accepted in copies.items():
        view = service.environment(accepted["environment_id"])
        history = consistent(url(service, view["id"]))
        assert 0 < history < during, "a moment while pgbench was at work"
        with psycopg.connect(url(service, view["id"])) as connection:
            (email,) = connection.execute("SELECT email FROM people").fetchone() or ("",)
        assert (email == SECRET) == (data == "full")
        seeded = [each for each in service.events(view["id"], "step_succeeded") if each["data"].get("copied")]
        assert seeded[0]["data"]["copied"]["rows"] > SCALE * 100_000
        assert seeded[0]["data"]["copied"]["point"], "the fork point is in the history"
    assert url(service, environment) != url(service, copies["full"]["environment_id"]), "secrets are minted"

    kept = [path for path in files_below(service.directory) if SECRET.encode() in read(path)]
    assert kept == []
    assert SECRET.encode() not in read(service.log)

    service.succeeded(service.signal(environment, "destroy"))
    assert service.environment(environment)["certificate"] is not None
    for accepted in copies.values():
        consistent(url(service, accepted["environment_id"]))
        service.succeeded(service.signal(accepted["environment_id"], "destroy"))


@pytest.mark.parametrize("data", ["full", "masked"])
def test_a_crash_in_the_middle_of_a_copy_leaves_one_that_is_finished(
    make_service: Start, tmp_path: Path, opened: tuple[Opened, ...], data: str
) -> None:
    service = make_service()
    process = service.serve()
    service.publish(database(tmp_path / "orders"))
    created = service.create("staging", "orders")
    service.succeeded(created)
    environment = created["environment_id"]
    where = url(service, environment)
    assert pgbench(where, "-i", "-q", "-s", "4", cwd=tmp_path).wait(300) == 0
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
        connection.execute("INSERT INTO people VALUES (1, %s)", (SECRET,))
    accepted = clone(service, environment, "copy", data)
    server = next(each for each in opened if each[0].provider == "postgres")
    eventually(lambda: _bytes_of(server, accepted["environment_id"]) > 15_000_000, why=service.last_lines)
    service.kill(process)
    service.serve()
    service.succeeded(accepted, within=120)
    there = look(opened, accepted["environment_id"])
    assert list(there.databases.values()) == [1], f"nothing half done is left: {there.databases}"
    with psycopg.connect(url(service, accepted["environment_id"])) as connection:
        assert connection.execute("SELECT count(*) FROM pgbench_accounts").fetchone() == (400_000,)
        email = SECRET if data == "full" else "person1@masked.invalid"
        assert connection.execute("SELECT email FROM people").fetchone() == (email,)
    service.succeeded(service.signal(accepted["environment_id"], "destroy"))
    assert look(opened, accepted["environment_id"]).empty


def _bytes_of(server: Opened, environment: str) -> int:
    """How much of the clone stands, under whatever name."""
    own = environment.removeprefix("env_").lower()
    with postgres(server) as pg:
        found = pg.execute(
            "SELECT pg_database_size(oid) FROM pg_database WHERE datname LIKE %s", (f"%{own}%",)
        ).fetchall()
    return max((int(size) for (size,) in found), default=0)

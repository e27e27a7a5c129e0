"""Rows that a clone must not have, planted in its source: nobody ever gets at them in the clone, and nothing tells
them: no log, no event, no answer, no file that a failed script or a kill in the middle leaves behind."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres.names import COPIER
from tests.acceptance.asking import ask_everything
from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.leaks import Needles, files_below, read, watching
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

PEOPLE = 200
BROKEN = """
DO $$ DECLARE p record; BEGIN
  FOR p IN SELECT email FROM people LOOP RAISE WARNING 'have %', p.email; END LOOP;
END $$;
SELECT email::int FROM people;
"""
TWICE = "ALTER TABLE people ADD UNIQUE (email);"
MASKING = """
ANALYZE people;
SELECT pg_sleep(4);
UPDATE people SET email = 'person' || id || '@masked.invalid';
"""


class Source:
    """An environment whose people are planted, on a server that can be seen from within."""

    def __init__(self, service: Service, servers: LocalServers, path: Path) -> None:
        self.service = service
        self.process = service.serve()
        self.email = f"ada.{secrets.token_hex(8)}@example.com"
        self.needles = Needles()
        self.needles.add({"a person's address": self.email, "its user": self.email.partition("@")[0]})
        self.server = next(each for each in servers.status() if each.kind == "postgres")
        config = next(target for target, _ in servers.targets() if target.provider == "postgres").config
        self._place = {"host": config["host"], "port": config["port"], "user": "postgres"}
        for number, (name, script) in enumerate({"broken": BROKEN, "twice": TWICE, "good": MASKING}.items()):
            component = {"type": "postgres.database", "masking": ["people.sql"]}
            made = folder(path / name, {"db": component}, name="people", version=f"1.0.{number}")
            (made / "people.sql").write_text(script)
            service.publish(made)
        created = service.create("staging", "people@1.0.0")
        service.succeeded(created)
        self.environment = str(created["environment_id"])
        shown = service.post(f"/v1/environments/{self.environment}/credentials/reveal", {"reason": "to fill"})
        with psycopg.connect(shown["variables"]["DB_URL"], autocommit=True) as connection:
            connection.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
            connection.execute("INSERT INTO people SELECT n, %s FROM generate_series(1, %s) n", (self.email, PEOPLE))

    def superuser(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Whoever runs the server."""
        password = (self.server.directory / "superuser.password").read_text()
        return psycopg.connect(dbname=database, password=password, autocommit=True, **self._place)

    def clone(self, name: str) -> Json:
        """Ask for a masked clone; what was accepted."""
        accepted = self.service.signal(self.environment, "clone", name=name, tier="dev", data="masked")
        self.service.environments.append(accepted["environment_id"])
        return accepted

    def update(self, version: str) -> None:
        """Another masking."""
        self.service.succeeded(self.service.signal(self.environment, "update", blueprint=f"people@{version}"))

    @contextmanager
    def knocking(self) -> Iterator[Knocks]:
        """Ask all the time who may enter a copy of this source, and what they would find."""
        knocks, end, failures = Knocks(), threading.Event(), []

        def knock() -> None:
            try:
                with self.superuser() as pg:
                    while not end.is_set():
                        self._look(pg, knocks)
            except Exception as failure:
                failures.append(failure)

        thread = threading.Thread(target=knock, name="knocking")
        thread.start()
        try:
            yield knocks
        finally:
            end.set()
            thread.join()
        assert not failures, failures

    def _look(self, pg: psycopg.Connection[Any], knocks: Knocks) -> None:
        copies = [each.removeprefix("env_").lower() for each in self.service.environments[1:]]
        found = pg.execute(
            """
            SELECT d.datname::text, r.rolname::text
            FROM pg_database AS d LEFT JOIN pg_roles AS r
              ON d.datallowconn AND r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> 'twin'
              AND has_database_privilege(r.oid, d.oid, 'CONNECT')
            WHERE d.datname LIKE ANY (%s)
            """,
            ([f"%{each}%" for each in copies],),
        ).fetchall()
        knocks.looks += 1
        for database, role in found:
            knocks.databases.add(database)
            if role is not None and not role.startswith(COPIER):
                knocks.open.add((database, role))


class Knocks:
    """What was seen: `databases` of copies, `open` those that a role could enter, with it."""

    def __init__(self) -> None:
        self.looks = 0
        self.databases: set[str] = set()
        self.open: set[tuple[str, str]] = set()


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's own directory for temporary files."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    return made


def test_masked_rows_are_nowhere(make_service: Start, local_servers: LocalServers, tmp_path: Path, tmp: Path) -> None:
    source = Source(make_service(), local_servers, tmp_path / "blueprints")
    service, needles = source.service, source.needles
    answers: list[tuple[str, bytes]] = []
    with watching(service.directory, tmp, needles=needles) as seen, source.knocking() as knocks:
        for number, name in enumerate(("broken", "twice")):
            if number:
                source.update(f"1.0.{number}")
            failed = source.clone(name)["environment_id"]
            view = service.reaches(failed, "failed")
            assert "masking by people.sql, line" in view["conditions"][0]["message"]
            answers += ask_everything(service, failed, ["db"])
            service.succeeded(service.signal(failed, "destroy"))

        source.update("1.0.2")
        copy = source.clone("copy")
        with source.superuser() as pg:
            masking = "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' AND pid <> pg_backend_pid()"
            eventually(lambda: pg.execute(masking).fetchall(), within=60, why=service.last_lines)
            service.kill(source.process)
            assert not knocks.open, "what is half done is open to nobody"
        service.serve()
        service.succeeded(copy)
        environment = str(copy["environment_id"])
        answers += ask_everything(service, environment, ["db"])
        shown = service.post(f"/v1/environments/{environment}/credentials/reveal", {"reason": "to look"})

    with psycopg.connect(shown["variables"]["DB_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (PEOPLE,)
        told = connection.execute("SELECT people::text FROM people UNION ALL SELECT pg_stats::text FROM pg_stats")
        assert needles.within(repr(told.fetchall()).encode()) == set()
        database = connection.info.dbname
    assert knocks.looks > 10
    assert {each for each, _ in knocks.open} == {database}, "no other copy was ever open to anybody"
    assert len(knocks.databases) > 3, "and there were some in the making"
    assert needles.within(content(source, database)) == set(), "nor do its files hold them"

    assert needles.within(read(service.log)) == set()
    assert needles.within(read(source.server.log)) == set(), "the server's log"
    assert not seen.found
    assert needles.within(b"\n".join(seen.commands)) == set()
    assert not [(path, names) for path, body in answers if (names := needles.within(body))]

    # The search works: the source has them.
    with source.superuser() as pg:
        (name,) = pg.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s",
            (f"%{source.environment.removeprefix('env_').lower()}%",),
        ).fetchone() or ("",)
    assert needles.within(content(source, name))
    assert b"masking" in b"".join(body for _, body in answers)


def content(source: Source, database: str) -> bytes:
    """All files of a database, as they are on disk."""
    with source.superuser() as pg:
        pg.execute("CHECKPOINT")
        (oid,) = pg.execute("SELECT oid FROM pg_database WHERE datname = %s", (database,)).fetchone() or ("",)
    folder = (source.server.directory / "server").resolve() / "data" / "base" / str(oid)
    files = list(files_below(folder))
    assert len(files) > 100
    return b"".join(map(read, files))

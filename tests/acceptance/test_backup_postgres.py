"""PostgreSQL's own backup, made while the service works and restored on another server, as docs/operations.md says."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from api.cli.exits import Exit
from providers.local import LocalServers
from providers.local.postgres_program import installation
from tests.acceptance.blueprints import small_guestbook
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import MakeDatabase, Start, fresh_database
from tests.acceptance.service import Json, Service

_COUNT_ON = "DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
"""Lets a server count its transactions further than a fresh one has."""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database on a server of its own."""
    servers = LocalServers(tmp_path / "elsewhere")
    servers.start("postgres")
    try:
        with fresh_database(*servers.targets()) as url:
            yield url
    finally:
        servers.remove()


def test_a_dump_restored_on_another_server_agrees_with_the_world_after_detect_drift(
    make_service: Start, make_database: MakeDatabase, elsewhere: str, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    database = make_database()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_COUNT_ON.encode())
    old = make_service(database_url=database, lease="2s")
    old.twin("db", "upgrade")
    process = old.serve()
    old.publish(small_guestbook(tmp_path / "guestbook"))
    accepted = old.create("dev", "guestbook")
    environment = accepted["environment_id"]
    old.succeeded(accepted)
    before = _cursors(old)
    working = [old.create(f"other-{n}", "guestbook") for n in range(2)]
    _run(_said_by_backup(old, tmp_path), database, tmp_path)  # while they are made
    for each in working:
        old.succeeded(each)
        old.succeeded(old.signal(each["environment_id"], "destroy"))
    old.succeeded(old.signal(environment, "scale", component="app", replicas=3))
    after = _cursors(old)
    old.kill(process)
    assert len(look(opened, environment).replicas) == 3

    _run(f"pg_restore --no-owner --dbname={shlex.quote(elsewhere)} twin.dump", elsewhere, tmp_path)
    new = make_service(database_url=elsewhere, targets_file=old.environ["TWIN_TARGETS_FILE"], lease="2s")
    new.directory.mkdir(mode=0o700)
    new.environments += old.environments
    shutil.copy(old.directory / "vault.key", new.directory / "vault.key")
    refused = new.start("serve")
    assert refused.wait(60) == Exit.NO_SERVICE
    assert "restored from another server" in new.last_lines()
    assert "twin db upgrade" in new.last_lines()
    new.twin("db", "upgrade")
    new.serve()
    assert new.verify()["findings"] == []
    assert [event["type"] for event in new.events(environment)].count("operation_accepted") == 1, "as it was then"
    for cursor in (before[-1], after[-1]):
        answer = new.api.get("/v1/audit", params={"after": cursor})
        assert (answer.status_code, answer.json()["field"]) == (422, "after"), answer.text

    new.succeeded(new.signal(environment, "detect_drift"))
    assert new.reaches(environment, "ready")["conditions"] == []
    seen = look(opened, environment)
    assert sorted(seen.replicas.values()) == [1]
    assert (seen.databases, seen.users) == (Counter(db_1=1), Counter(cache_1=1)), "adopted, not made again"
    for each in new.environments:
        new.succeeded(new.signal(each, "destroy"))
        assert look(opened, each).empty
    assert new.verify()["findings"] == []


def _said_by_backup(service: Service, folder: Path) -> str:
    """The command that `twin backup` names."""
    refused = service.start("backup", str(folder / "copy"))
    assert refused.wait(60) == Exit.REFUSED, service.last_lines()
    assert not (folder / "copy").exists()
    (line,) = (line for line in service.log.read_text().splitlines() if "pg_dump" in line)
    return line.partition("pg_dump")[1] + line.partition("pg_dump")[2]


def _run(command: str, database: str, folder: Path) -> None:
    """A command of PostgreSQL, in a folder, with the password that it asks for."""
    name, *arguments = shlex.split(command)
    program = installation(None, folder).program(name)
    environ = os.environ | {"PGPASSWORD": urlsplit(database).password or ""}
    done = subprocess.run([program, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _cursors(service: Service) -> list[str]:
    page: Json = service.get("/v1/audit", limit=500)
    return [event["id"] for event in page["items"]]

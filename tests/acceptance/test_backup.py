"""A copy made while the service works, restored elsewhere: what stands in the world is brought to what it says."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from api.cli.exits import Exit
from tests.acceptance.blueprints import small_guestbook
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start
from tests.acceptance.service import Service


@pytest.fixture
def lost(make_service: Start, tmp_path: Path) -> tuple[Service, Path, str]:
    """A service that is gone for good, a copy of before its last change, and its environment."""
    service = make_service()
    process = service.serve()
    service.publish(small_guestbook(tmp_path / "guestbook"))
    accepted = service.create("dev", "guestbook")
    service.succeeded(accepted)
    environment = accepted["environment_id"]
    working = [service.create(f"other-{n}", "guestbook") for n in range(2)]
    copy = tmp_path / "backup" / "twin.db"
    copy.parent.mkdir()
    said = _said(service, "backup", str(copy))
    assert "vault.key" in said
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not list(service.directory.glob("backup-*")), "nothing is left in the data folder"
    for each in working:
        service.succeeded(each)
        service.succeeded(service.signal(each["environment_id"], "destroy"))
    service.succeeded(service.signal(environment, "scale", component="app", replicas=3))
    service.kill(process)
    return service, copy, environment


def test_a_restored_twin_agrees_with_the_world_after_detect_drift(
    lost: tuple[Service, Path, str], make_service: Start, opened: tuple[Opened, ...]
) -> None:
    old, copy, environment = lost
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(look(opened, environment).replicas) == 3
    new = make_service(targets_file=old.environ["TWIN_TARGETS_FILE"])
    new.directory.mkdir(mode=0o700)
    new.environments += old.environments
    shutil.copy(copy, new.directory / "twin.db")

    refused = new.start("serve")
    assert refused.wait(60) == Exit.REFUSED, "the key is not in the copy"
    assert "vault" in new.last_lines()

    shutil.copy(old.directory / "vault.key", new.directory / "vault.key")
    new.serve()
    assert new.verify()["findings"] == []
    assert _replicas(new, environment) == 1, "as it was when the copy was made"
    new.succeeded(new.signal(environment, "detect_drift"))
    assert new.reaches(environment, "ready")["conditions"] == []
    seen = look(opened, environment)
    assert sorted(seen.replicas.values()) == [1]
    assert (seen.databases, seen.users) == (Counter(db_1=1), Counter(cache_1=1)), "adopted, not made again"
    for each in new.environments:
        new.succeeded(new.signal(each, "destroy"))
        assert look(opened, each).empty
    assert new.verify()["findings"] == []


def test_the_file_of_a_stopped_service_is_copied_too(make_service: Start, tmp_path: Path) -> None:
    service = make_service()
    service.kill(service.serve())
    assert "No service runs" in _said(service, "backup", str(tmp_path / "copy.db"))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as database:
        assert database.execute("SELECT count(*) FROM tokens").fetchone() == (1,)
    again = service.start("backup", str(tmp_path / "copy.db"))
    assert again.wait(60) == Exit.USAGE, "a copy is never overwritten"


def _said(service: Service, *arguments: str) -> str:
    """What a command says on stderr, once it has succeeded."""
    before = service.log.stat().st_size
    command = service.start(*arguments)
    assert command.wait(60) == Exit.DONE, service.last_lines()
    return service.log.read_text()[before:]


def _replicas(service: Service, environment: str) -> int:
    (app,) = (each for each in service.environment(environment)["components"] if each["name"] == "app")
    return int(app["inputs"]["replicas"])

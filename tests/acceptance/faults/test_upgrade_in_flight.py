"""An upgrade of the schema while work is in flight: a step in its call, one that waits to be tried again, one that is
blocked. The processes that began it die, or work on through it; after `twin db upgrade` all of it ends well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import MakeDatabase, Start
from tests.acceptance.service import Json
from tests.waiting import eventually
from twin.store import migrations

FIRST = "0001"
_COLUMNS = {"tasks": "progress", "events": "pull"}
_IN_FLIGHT = """
SELECT count(CASE WHEN kind = 'step' AND lease_owner IS NOT NULL THEN 1 END),
       count(CASE WHEN kind = 'step' AND lease_owner IS NULL AND due_at IS NOT NULL THEN 1 END),
       count(CASE WHEN kind = 'block' THEN 1 END)
FROM tasks
"""


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize(
    ("where", "killed"),
    [("sqlite", True), ("postgresql", True), ("postgresql", False)],
    ids=["sqlite", "postgresql", "beside-a-worker"],
)
def test_what_was_begun_before_the_upgrade_ends_after_it(
    make_service: Start,
    make_database: MakeDatabase,
    local_servers: LocalServers,
    opened: tuple[Opened, ...],
    tmp_path: Path,
    where: str,
    killed: bool,
) -> None:
    database = make_database() if where == "postgresql" else ""
    service = make_service(lease="3s", **({"database_url": database} if database else {}))
    service.directory.mkdir(mode=0o700)
    url = database.replace("postgresql:", "postgresql+psycopg:") or f"sqlite:///{service.directory / 'twin.db'}"
    engine = create_engine(url, poolclass=NullPool)
    _make_first(engine)
    processes = [service.serve()] if killed else [service.serve("--no-worker"), *service.work()]
    gate = tmp_path / "gate"
    for name, components in _blueprints(gate).items():
        service.publish(_with_build(folder(tmp_path / name, components, name=name)))
    local_servers.stop("nats")
    try:
        accepted = {name: service.create(name, name) for name in ("waiting", "blocked", "running")}
        service.reaches(accepted["blocked"]["environment_id"], "blocked")
        eventually(lambda: _in_flight(engine) == (1, 1, 1), why=service.last_lines)
        for process in processes if killed else ():
            service.kill(process)
        with engine.begin() as connection:
            for table, column in _COLUMNS.items():
                connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
            _mark(connection, FIRST)
            if not killed:
                migrations.upgrade(connection)  # in one transaction: this worker, unlike one of that time, needs it all
        if killed:
            service.twin("db", "upgrade")
    finally:
        local_servers.start("nats")
    assert _is_newest(engine)
    if killed:
        assert _in_flight(engine) == (1, 1, 1), "nothing of it is lost or changed"
    gate.touch()
    if killed:
        service.serve()
    for name in ("waiting", "running"):
        service.succeeded(accepted[name], within=120)
    (block,) = service.get("/v1/blocks")["items"]
    service.twin("blocks", "resolve", block["key"])
    service.succeeded(accepted["blocked"], within=120)
    for each in accepted.values():
        environment = each["environment_id"]
        assert len(service.events(environment, "operation_accepted")) == 1
        assert len(service.events(environment, "step_succeeded")) == 1
        service.succeeded(service.signal(environment, "destroy"))
        assert look(opened, environment).empty
    assert service.verify()["findings"] == []


def _blueprints(gate: Path) -> Json:
    stream = {"type": "nats.stream", "inputs": {"subjects": ["it.>"]}}
    app = {"command": ["python", "-I", "-S", "app.py"], "build": ["python", "build.py", str(gate)], "stop_grace": 2}
    return {
        "waiting": {"it": stream},
        "blocked": {"it": {**stream, "policy": {"attempts": 1}}},
        "running": {"it": {"type": "process.service", "inputs": {**app, "env": {"DATABASE_URL": ""}}}},
    }


def _with_build(path: Path) -> Path:
    """A build that waits for a file."""
    waits = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.02)\n"
    (path / "build.py").write_text(waits)
    return path


def _make_first(engine: Engine) -> None:
    """The schema of the first version. It is marked as the newest, and has the columns which today's processes need, so
    that they work on it as those of its time did: the versions after it have changed no row."""
    newest = migrations.head()
    assert newest is not None
    assert newest > FIRST
    with engine.begin() as connection:
        command.upgrade(migrations._config(connection), FIRST)
        for table, column in _COLUMNS.items():
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column} TEXT"))
        _mark(connection, newest)


def _mark(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def _is_newest(engine: Engine) -> bool:
    with engine.connect() as connection:
        migrations.check(connection)
        columns = {column["name"] for column in inspect(connection).get_columns("tasks")}
        indexes = {index["name"] for index in inspect(connection).get_indexes("events")}
        return "progress" in columns and "ix_events_at" not in indexes


def _in_flight(engine: Engine) -> tuple[Any, ...]:
    """Steps that are leased, that wait, and that are blocked."""
    with engine.connect() as connection:
        return tuple(connection.execute(text(_IN_FLIGHT)).one())

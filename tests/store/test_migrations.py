"""Migrations lead from nothing to the tables of the metadata, and nobody works on another schema."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Index, create_engine, insert, select
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex

from twin.domain.errors import Unavailable
from twin.store import migrations, open_store
from twin.store.tables import events, metadata, tasks
from twin.testing.conformance.store_setting import DECIDERS, StoppedClock

# Neither can read an index over an expression out of SQLite; `check_upgrade` compares those itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]

AN_EVENT = dict.fromkeys(("entity", "actor_kind", "actor_name", "type", "project", "name", "tier"), "x") | {
    "schema_v": 1,
    **dict.fromkeys(("prev_hash", "hash", "body"), b""),
}

from_nothing = pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])


@from_nothing
def test_on_sqlite_they_lead_to_the_metadata(tmp_path: Path, again: bool) -> None:
    check_upgrade(f"sqlite:///{tmp_path}/twin.db", again)


@from_nothing
def test_on_postgres_they_lead_to_the_metadata(postgres_server: str, postgres_url: str, again: bool) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    check_upgrade(postgres_url.replace("postgresql:", "postgresql+psycopg:"), again)


def check_upgrade(url: str, again: bool) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        for _ in range(1 + again):
            with connection.begin():
                migrations.upgrade(connection)
        migrations.check(connection)
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        if connection.dialect.name == "sqlite":
            made = set(connection.exec_driver_sql("SELECT trim(sql) FROM sqlite_master WHERE type = 'index'").scalars())
            wanted = {index for table in metadata.tables.values() for index in table.indexes if is_unreadable(index)}
            assert {str(CreateIndex(index).compile(dialect=engine.dialect)).strip() for index in wanted} <= made
    engine.dispose()


def is_unreadable(index: Index) -> bool:
    return not all(isinstance(each, Column) for each in index.expressions)


def test_another_schema_is_refused_with_the_command_that_mends_it(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    for url in (postgres_url, f"sqlite:///{tmp_path}/twin.db"):
        with pytest.raises(Unavailable) as refused:
            open_store(url, deciders=DECIDERS, clock=StoppedClock(), upgrade=False)
        assert refused.value.mend == "twin db upgrade"


def test_a_schema_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/twin.db"
    check_upgrade(url, again=False)
    with closing(sqlite3.connect(tmp_path / "twin.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for upgrade in (True, False):
        with pytest.raises(Unavailable, match="newer version") as refused:
            open_store(url, deciders=DECIDERS, clock=StoppedClock(), upgrade=upgrade)
        assert refused.value.mend is not None
        assert "twin db upgrade" not in refused.value.mend, "it could not"


def test_the_third_leaves_running_steps_running_on_sqlite(tmp_path: Path) -> None:
    check_tasks_stay(f"sqlite:///{tmp_path}/twin.db")


def test_the_third_leaves_running_steps_running_on_postgres(postgres_server: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    check_tasks_stay(postgres_url.replace("postgresql:", "postgresql+psycopg:"))


def check_tasks_stay(url: str) -> None:
    running = {"entity": "c1", "kind": "step", "key": "db", "entity_kind": "counter", "queue": "local"}
    running |= {"lease_owner": "w1", "lease_epoch": 3, "deaths": 1}
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        with connection.begin():
            command.upgrade(migrations._config(connection), "0002")
            connection.execute(insert(tasks), [running])
        with connection.begin():
            migrations.upgrade(connection)
        (row,) = connection.execute(select(tasks)).mappings()
        assert row == {**running, "due_at": None, "progress": None}
    engine.dispose()


def test_the_second_keeps_every_row_on_sqlite(tmp_path: Path) -> None:
    check_rows_stay(f"sqlite:///{tmp_path}/twin.db")


def test_the_second_keeps_every_row_on_postgres(postgres_server: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    check_rows_stay(postgres_url.replace("postgresql:", "postgresql+psycopg:"))


def check_rows_stay(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        with connection.begin():
            command.upgrade(migrations._config(connection), "0001")
            connection.execute(insert(events), [{**AN_EVENT, "seq": number, "at": -number} for number in range(1, 50)])
        with connection.begin():
            before = log_of(connection)
            migrations.upgrade(connection)
        assert len(before) == 49
        assert log_of(connection) == before
    engine.dispose()


def log_of(connection: Connection) -> list[Any]:
    """In the columns that the first version had."""
    columns = (column for column in events.c if column.name != "pull")
    return [tuple(row) for row in connection.execute(select(*columns).order_by(events.c.seq))]


def test_they_are_found_in_a_checkout() -> None:
    assert (migrations.script_location() / "env.py").is_file()


def test_the_newest_is_told_by_the_files_names() -> None:
    assert migrations.head() == ScriptDirectory.from_config(migrations._config()).get_current_head()


def test_a_start_on_the_newest_version_does_not_load_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/twin.db"
    check_upgrade(url, again=False)
    code = (
        "import sys, sqlalchemy; from twin.store import migrations; "
        f"connection = sqlalchemy.create_engine({url!r}).connect(); "
        "migrations.upgrade(connection); migrations.check(connection); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Migrations lead from nothing to the tables of the metadata, and nobody works on another schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from twin.domain.errors import Unavailable
from twin.store import migrations, open_store
from twin.store.tables import metadata
from twin.testing.conformance.store_setting import DECIDERS, StoppedClock

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
    engine.dispose()


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


def test_they_are_found_in_a_checkout() -> None:
    assert (migrations.script_location() / "env.py").is_file()

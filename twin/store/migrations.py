"""The schema's versions: upgrade, and refuse to work on any but the newest."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import twin
from twin.domain.errors import Unavailable

_PACKAGE = Path(twin.__file__).parent
# Any number; two processes that upgrade at once take turns on it.
_UPGRADE_LOCK = 0x7477_696E


def script_location() -> Path:
    """Where the migrations are: inside of the wheel, or beside the package in a checkout."""
    wheel = _PACKAGE / "_migrations"
    return wheel if wheel.is_dir() else _PACKAGE.parent / "alembic"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str | None:
    """The newest version."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def current(connection: Connection) -> str | None:
    """The database's version; None if it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest version within the connection's transaction, which the caller commits. Raises
    `Unavailable` if a newer version of the twin has upgraded it already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    _refuse_newer(current(connection))
    command.upgrade(_config(connection), "head")


def check(connection: Connection) -> None:
    """Raise `Unavailable` unless the database is at the newest version."""
    found, wanted = current(connection), head()
    _refuse_newer(found)
    if found != wanted:
        raise Unavailable(
            f"The database's schema is at {found or 'no version'}, this version of the twin needs {wanted}.",
            mend="twin db upgrade",
            code="schema_not_at_head",
        )


def _refuse_newer(found: str | None) -> None:
    """Versions are numbers of four digits: one greater than ours is unknown to us, and none of ours leads there."""
    ours = head()
    if found is not None and ours is not None and found > ours:
        raise Unavailable(
            f"The database's schema is at {found}, made by a newer version of the twin; this one knows {ours}.",
            mend="Install the version of the twin that upgraded it, or a later one.",
            code="schema_not_at_head",
        )

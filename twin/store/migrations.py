"""The schema's versions: upgrade, and refuse to work on any but the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

import twin
from twin.domain.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

_PACKAGE = Path(twin.__file__).parent
# Any number; two processes that upgrade at once take turns on it.
_UPGRADE_LOCK = 0x7477_696E
_version = text("SELECT version_num FROM alembic_version")


def script_location() -> Path:
    """Where the migrations are: inside of the wheel, or beside the package in a checkout."""
    wheel = _PACKAGE / "_migrations"
    return wheel if wheel.is_dir() else _PACKAGE.parent / "alembic"


def _config(connection: Connection | None = None) -> Config:
    from alembic.config import Config  # slow to load, and a start on the newest version needs none of it

    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str | None:
    """The newest version: the files are numbered by it, and each follows the one before."""
    return max((file.name[:4] for file in (script_location() / "versions").glob("[0-9]*.py")), default=None)


def current(connection: Connection) -> str | None:
    """The database's version; None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(_version).scalar_one_or_none()
    return found


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest version within the connection's transaction, which the caller commits. Raises
    `Unavailable` if a newer version of the twin has upgraded it already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    found = current(connection)
    _refuse_newer(found)
    if found is None or found != head():
        from alembic import command  # as in `_config`

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

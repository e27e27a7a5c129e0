"""The tables, for SQLite and PostgreSQL alike. Times are microseconds since 1970, UTC (`twin.store.moments`).

Triggers that keep `events` append-only stand in the migrations, for metadata cannot hold them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps round."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in DDL."""
        return "xid8"

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Drivers give it as text."""
        return lambda value: None if value is None else int(value)


ischema_names["xid8"] = Xid8  # so that reflection, and `alembic check` with it, knows the type


class CurrentTransaction(FunctionElement[int]):
    """The id of the running transaction; 0 on SQLite, where commit order is the order of the ids of events."""

    inherit_cache = True


@compiles(CurrentTransaction, "postgresql")
def _on_postgres(element: Any, compiler: Any, **_: Any) -> str:
    return "pg_current_xact_id()"


@compiles(CurrentTransaction)
def _elsewhere(element: Any, compiler: Any, **_: Any) -> str:
    return "0"


_Json = JSON().with_variant(JSONB(), "postgresql")
_Transaction = BigInteger().with_variant(Xid8(), "postgresql")
# SQLite counts up by itself only for a column declared INTEGER PRIMARY KEY.
_Serial = BigInteger().with_variant(Integer(), "sqlite")

entities = Table(
    "entities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("labels", _Json, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("schema_v", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("snapshot", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(
        "uq_entities_live_name",
        "kind",
        "project",
        "name",
        unique=True,
        sqlite_where=text("live"),
        postgresql_where=text("live"),
    ),
    Index("ix_entities_name", "kind", "project", "name", "created_at"),
)

QUARTER = "at / 21600000000"
"""The quarter of a day of an event, counted from 1970; as the index has it, so that it is used."""

events = Table(
    "events",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("xid", _Transaction, nullable=False, server_default=CurrentTransaction()),
    Column("entity", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("request_id", Text),
    Column("type", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("operation_id", Text),
    Column("component", Text),
    Column("schema_v", Integer, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("pull", Text),
    UniqueConstraint("entity", "seq"),
    # Every audit filter is an equality on one of these, then a walk along the position (xid, id).
    Index("ix_events_position", "xid", "id", "at"),
    # Most queries are limited to a project: the other filters are decided in its index, without looking at the rows.
    Index("ix_events_project", "project", "xid", "id", "at", "type", "tier", "name", "component", "actor_name"),
    Index("ix_events_name", "name", "xid", "id"),
    Index("ix_events_tier", "tier", "xid", "id"),
    Index("ix_events_actor", "actor_name", "xid", "id"),
    Index("ix_events_type", "type", "xid", "id"),
    # Where the events of each quarter of a day begin and end, whatever the clocks did (`twin.store.audit_span`).
    Index("ix_events_quarter", text(f"({QUARTER})"), "xid", "id"),
    *(
        Index(
            f"ix_events_{column}",
            column,
            "xid",
            "id",
            sqlite_where=text(f"{column} IS NOT NULL"),
            postgresql_where=text(f"{column} IS NOT NULL"),
        )
        for column in ("operation_id", "component", "request_id", "pull")
    ),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("entity", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("outcome", Text),
    Column("end", LargeBinary),
    Column("ended_at", BigInteger),
    Index("ix_operations_entity", "entity", "seq"),
)

_FREE = "lease_owner IS NULL AND due_at IS NOT NULL"

tasks = Table(
    "tasks",
    metadata,
    Column("entity", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("entity_kind", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("due_at", BigInteger),
    Column("lease_owner", Text),
    Column("lease_epoch", BigInteger, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("progress", Text),
    PrimaryKeyConstraint("entity", "kind", "key"),
    Index("ix_tasks_queue", "queue", "due_at", sqlite_where=text(_FREE), postgresql_where=text(_FREE)),
    Index("ix_tasks_due", "due_at", sqlite_where=text(_FREE), postgresql_where=text(_FREE)),
    Index("ix_tasks_key", "kind", "key"),
    Index(
        "ix_tasks_lease",
        "lease_owner",
        sqlite_where=text("lease_owner IS NOT NULL"),
        postgresql_where=text("lease_owner IS NOT NULL"),
    ),
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
)

blocks = Table(
    "blocks",
    metadata,
    Column("key", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("mend", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolved_kind", Text),
    Column("resolved_name", Text),
)

blueprints = Table(
    "blueprints",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("publisher_kind", Text, nullable=False),
    Column("publisher_name", Text, nullable=False),
    UniqueConstraint("name", "version"),
)

bundles = Table(
    "bundles",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

targets = Table(
    "targets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("entity", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("entity", "component", "version", "name"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("roles", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    UniqueConstraint("name"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("principal", "key"),
    Index("ix_idempotency_expires_at", "expires_at"),
)

_KEPT = "handled_at IS NOT NULL AND body IS NOT NULL"

deliveries = Table(
    "deliveries",
    metadata,
    Column("target", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("headers", _Json, nullable=False),
    Column("body", LargeBinary),
    Column("taken_at", BigInteger, nullable=False),
    Column("handled_at", BigInteger),
    PrimaryKeyConstraint("target", "id"),
    Index(
        "uq_deliveries_undone",
        "target",
        "number",
        unique=True,
        sqlite_where=text("handled_at IS NULL"),
        postgresql_where=text("handled_at IS NULL"),
    ),
    Index(
        "ix_deliveries_kept",
        "target",
        "handled_at",
        sqlite_where=text(_KEPT),
        postgresql_where=text(_KEPT),
    ),
)

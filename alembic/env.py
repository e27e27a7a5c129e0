"""Runs migrations: on the connection that `twin.store.migrations` hands over, or from the `alembic` command."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine

from twin.store.tables import metadata


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ["TWIN_DATABASE_URL"]
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()

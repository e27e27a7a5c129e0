"""Durable state in SQLite or PostgreSQL: `open_store` and nothing else is for others."""

from twin.store.sql_store import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]

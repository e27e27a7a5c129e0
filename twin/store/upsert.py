"""INSERT … ON CONFLICT, which both databases have and SQLAlchemy keeps in two classes.

PostgreSQL's class holds all that SQLite's compiler asks for (not the other way round), so one statement serves both.
The suite runs every one of them on both.
"""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert as upsert

__all__ = ["upsert"]

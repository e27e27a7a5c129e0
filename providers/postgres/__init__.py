"""PostgreSQL: one database per component, on a server that is already there."""

from providers.postgres.provider import PostgresKind

KIND = PostgresKind()
"""The provider as the composition root registers it."""

__all__ = ["KIND"]

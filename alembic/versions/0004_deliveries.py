"""What webhooks deliver, as it came.

A table of its own: the version before leaves it alone, and takes no webhooks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UNDONE = sa.text("handled_at IS NULL")
_KEPT = sa.text("handled_at IS NOT NULL AND body IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("headers", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("handled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("target", "id"),
    )
    op.create_index(
        "uq_deliveries_undone",
        "deliveries",
        ["target", "number"],
        unique=True,
        sqlite_where=_UNDONE,
        postgresql_where=_UNDONE,
    )
    op.create_index(
        "ix_deliveries_kept", "deliveries", ["target", "handled_at"], sqlite_where=_KEPT, postgresql_where=_KEPT
    )


def downgrade() -> None:
    raise NotImplementedError("History is never thrown away: restore the copy that was made before the upgrade.")

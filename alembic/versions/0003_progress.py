"""What a running step says of how far it is, beside its lease.

A column that may be empty: the version before works on it too, and shows no progress.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("progress", sa.Text(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("History is never thrown away: restore the copy that was made before the upgrade.")

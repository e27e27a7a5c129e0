"""Audit queries at ten million events: a project's index that decides the other filters too, and quarters of days.

Changes indexes alone, so that the version before works on it too, and on PostgreSQL holds up writers while they are
made: some seconds per million events.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_events_quarter", "events", [sa.text("(at / 21600000000)"), "xid", "id"], unique=False)
    op.drop_index("ix_events_at", "events")
    op.drop_index("ix_events_position", "events")
    op.create_index("ix_events_position", "events", ["xid", "id", "at"], unique=False)
    op.drop_index("ix_events_project", "events")
    op.create_index(
        "ix_events_project",
        "events",
        ["project", "xid", "id", "at", "type", "tier", "name", "component", "actor_name"],
        unique=False,
    )


def downgrade() -> None:
    raise NotImplementedError("History is never thrown away: restore the copy that was made before the upgrade.")

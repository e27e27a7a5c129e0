"""For whose sake something happened: the pull request of each event, if there is one.

A column that may be empty: the version before works on it too, and its events are of no pull request.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SOME = sa.text("pull IS NOT NULL")


def upgrade() -> None:
    op.add_column("events", sa.Column("pull", sa.Text(), nullable=True))
    op.create_index("ix_events_pull", "events", ["pull", "xid", "id"], sqlite_where=_SOME, postgresql_where=_SOME)


def downgrade() -> None:
    raise NotImplementedError("History is never thrown away: restore the copy that was made before the upgrade.")

"""A dump restored into another server: the order of its events must be fitted to that server's transactions.

Events stand in the order of the transactions that wrote them (`events.xid`), and are shown once no older transaction
runs. Another server counts its transactions anew: events with numbers that it has not reached would stay unseen for
as long as that takes, and all that is written from now on would stand before them. `xid` says nothing but the order;
it is in no hash.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from twin.domain.errors import Unavailable

# What a statement sees was committed, so this server's own transactions are below the bound of its snapshot.
_strangers = text("SELECT EXISTS (SELECT FROM events WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))")
_number_anew = (
    text("ALTER TABLE events DISABLE TRIGGER USER"),
    text("UPDATE events SET xid = '0'"),  # before all that this server writes; among themselves in the order of ids
    text("ALTER TABLE events ENABLE TRIGGER USER"),
)


def check(connection: Connection) -> None:
    """Raise `Unavailable` if events come from another server and nobody has numbered them anew."""
    if connection.execute(_strangers).scalar_one():
        raise Unavailable(
            "The database was restored from another server and is not fitted to this one yet.",
            mend="twin db upgrade",
            code="restored_database",
        )


def number_anew(connection: Connection) -> None:
    """Put the events of another server before all that this one writes, in the connection's transaction."""
    if connection.execute(_strangers).scalar_one():
        for statement in _number_anew:
            connection.execute(statement)

"""Blocks: one row per reason to wait for a human, however many twins it stops."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from twin.domain.identity import Actor
from twin.domain.operations import BlockRaised
from twin.ports.store import StoredBlock
from twin.store.moments import from_micros, optional_moment, to_micros
from twin.store.prepared import Prepared
from twin.store.tables import blocks, tasks
from twin.store.transact import Transaction
from twin.store.upsert import upsert

_row = upsert(blocks)
_new = _row.excluded
_raise = Prepared(
    _row.on_conflict_do_update(
        index_elements=["key"],
        # Raised again after it was resolved: open, as of now. While open: the newest words count, the first time stays.
        set_={
            "owner": _new.owner,
            "mend": _new.mend,
            "message": _new.message,
            "raised_at": _new.raised_at,
            "resolved_at": None,
            "resolved_kind": None,
            "resolved_name": None,
        },
        where=blocks.c.resolved_at.is_not(None),
    )
)
_reword = Prepared(
    update(blocks)
    .where(blocks.c.key == bindparam("of_key"))
    .values(owner=bindparam("new_owner"), mend=bindparam("new_mend"), message=bindparam("new_message"))
)
_resolve = Prepared(
    update(blocks)
    .where((blocks.c.key == bindparam("of_key")) & blocks.c.resolved_at.is_(None))
    .values(resolved_at=bindparam("now"), resolved_kind=bindparam("by_kind"), resolved_name=bindparam("by_name"))
)
# The block's row first, then all its tasks at once: the same order as a transition that raises it.
_wake = Prepared(
    update(tasks)
    .where((tasks.c.kind == "block") & (tasks.c.key == bindparam("of_key")) & tasks.c.due_at.is_(None))
    .values(due_at=bindparam("now"))
)
_every = select(blocks).order_by(blocks.c.raised_at, blocks.c.key)
_all = Prepared(_every)
_open = Prepared(_every.where(blocks.c.resolved_at.is_(None)))
_stopped = Prepared(
    select(tasks.c.key, tasks.c.entity)
    .where((tasks.c.kind == "block") & tasks.c.due_at.is_(None))
    .order_by(tasks.c.key, tasks.c.entity)
)


def raise_block(tx: Transaction, raised: BlockRaised, at: datetime) -> None:
    """Keep a row for the reason; reopens a resolved one."""
    row = {
        "key": raised.key,
        "owner": raised.owner,
        "mend": raised.mend,
        "message": raised.message,
        "raised_at": to_micros(at),
    }
    if _raise.run(tx.connection, row).rowcount == 0:
        words = {"new_owner": raised.owner, "new_mend": raised.mend, "new_message": raised.message}
        _reword.run(tx.connection, {"of_key": raised.key, **words})


def resolve(tx: Transaction, key: str, by: Actor) -> int | None:
    """Make every task due that waits for the block. How many; None if no such block is open."""
    now = tx.now()
    if not _resolve.run(tx.connection, {"of_key": key, "now": now, "by_kind": by.kind, "by_name": by.name}).rowcount:
        return None
    woken = _wake.run(tx.connection, {"of_key": key, "now": now}).rowcount
    if woken:
        tx.woken.add(("", "block", key))  # of every entity that waits for it
    return woken


def stored(connection: Connection, *, open_only: bool) -> tuple[StoredBlock, ...]:
    """Blocks, the oldest first, with the entities that they stop. An open one that stops nobody any more, as what it
    stopped was retried, changed or destroyed, is no news."""
    stopped: dict[str, list[str]] = {}
    for row in _stopped.run(connection):
        stopped.setdefault(row.key, []).append(row.entity)
    rows = (_open if open_only else _all).run(connection)
    return tuple(_block(row, stopped.get(row.key, [])) for row in rows if not open_only or row.key in stopped)


def _block(row: Any, stopped: list[str]) -> StoredBlock:
    return StoredBlock(
        key=row.key,
        owner=row.owner,
        mend=row.mend,
        message=row.message,
        raised_at=from_micros(row.raised_at),
        resolved_at=optional_moment(row.resolved_at),
        resolved_by=Actor(row.resolved_kind, row.resolved_name) if row.resolved_kind else None,
        waiting=len(stopped),
        entities=tuple(stopped),
    )

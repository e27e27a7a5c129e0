"""One input to one entity: lock, decide, append, save the snapshot, align the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from sqlalchemy import bindparam, insert, select, text, update

from twin.domain.decider import Cause, Context, EntityIndex, transition
from twin.domain.errors import Conflict, Unavailable
from twin.domain.operations import BlockRaised, OperationAccepted, OperationEnded
from twin.ports.store import Recorded, Transition
from twin.store import blocks, chain, tasks
from twin.store.cursors import EventPosition, to_cursor
from twin.store.moments import from_micros, optional_micros
from twin.store.prepared import Prepared
from twin.store.tables import entities, operations
from twin.store.transact import RunAgain, Transaction
from twin.store.upsert import upsert


class Loaded(Struct):
    """A locked entity as this transaction sees it. `place` is its project, its name, and whether that is taken."""

    state: Any
    place: tuple[str, str, bool]
    seq: int
    head: bytes
    epoch: int


_columns = entities.c
# NO KEY UPDATE: serialises transitions of one entity, and lets foreign readers of its key pass.
_lock = Prepared(
    select(_columns.kind, _columns.seq, _columns.head, _columns.epoch, _columns.schema_v, _columns.snapshot)
    .add_columns(_columns.project, _columns.name, _columns.live)
    .add_columns(_columns.updated_at)
    .where(_columns.id == bindparam("id"))
    .with_for_update(key_share=True)
)
_look = Prepared(select(_columns.schema_v, _columns.snapshot).where(_columns.id == bindparam("id")))
# Advisory, as a row that is not there yet cannot be locked: who relies on its absence would be passed by its creation.
_rely = Prepared(text("SELECT pg_advisory_xact_lock_shared(hashtextextended('twin.entity.' || :id, 0))"))
_change = Prepared(text("SELECT pg_advisory_xact_lock(hashtextextended('twin.entity.' || :id, 0))"))
_there = Prepared(select(_columns.kind).where(_columns.id == bindparam("id")))
# DO NOTHING instead of an error, which on PostgreSQL would end the transaction.
_create = Prepared(upsert(entities).on_conflict_do_nothing().returning(_columns.id))
_namesake = Prepared(
    select(_columns.id).where(
        (_columns.kind == bindparam("kind"))
        & (_columns.project == bindparam("project"))
        & (_columns.name == bindparam("name"))
        & _columns.live
    )
)
_save = Prepared(
    update(entities)
    .where(_columns.id == bindparam("of_id"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                *("project", "name", "tier", "status", "labels", "live", "seq", "schema_v", "epoch"),
                *("snapshot", "head", "expires_at", "updated_at"),
            )
        }
    )
)
_accept = Prepared(insert(operations))
_end = Prepared(
    update(operations)
    .where(operations.c.id == bindparam("of_id"))
    .values(outcome=bindparam("new_outcome"), end=bindparam("new_end"), ended_at=bindparam("new_ended_at"))
)


class _Typed(Struct):
    type: str


_type_of = msgspec.json.Decoder(_Typed)
_encode = msgspec.json.Encoder().encode


def load(tx: Transaction, decider: Any, entity: str) -> Loaded | None:
    """Lock an entity; None if there is none. Raises `Unavailable` if a newer version of the twin has written it."""
    row = _lock.run(tx.connection, {"id": entity}).one_or_none()
    if row is None:
        tx.not_before(0)
        return None
    tx.not_before(row.updated_at)
    if row.kind != decider.kind:
        raise Conflict(f"{entity} is a {row.kind}, no {decider.kind}.")
    state = _decoded(decider, entity, row)
    return Loaded(state, (row.project, row.name, row.live), row.seq, row.head, row.epoch)


def glance(tx: Transaction, decider: Any, entity: str) -> Any:
    """The state of a shared entity, not locked, while others may glance at it too; None if there is none. Its next
    transition waits until this transaction ends."""
    _hold(tx, _rely, entity)
    row = _look.run(tx.connection, {"id": entity}).one_or_none()
    return None if row is None else _decoded(decider, entity, row)


def await_glances(tx: Transaction, entity: str) -> None:
    """Before a shared entity is locked, or comes to be: let those come to their end who have glanced at it."""
    _hold(tx, _change, entity)


def _hold(tx: Transaction, lock: Prepared, entity: str) -> None:
    if tx.connection.dialect.name == "postgresql":  # SQLite has one writer
        lock.run(tx.connection, {"id": entity})


def _decoded(decider: Any, entity: str, row: Any) -> Any:
    if row.schema_v > decider.schema_v:
        raise Unavailable(
            f"{entity} was written by a newer version of the twin (schema {row.schema_v}, ours {decider.schema_v}).",
            mend="Finish the upgrade of all processes.",
            code="newer_schema",
        )
    return decider.decode_state(row.snapshot, row.schema_v)


def run(
    tx: Transaction, decider: Any, entity: str, before: Loaded | None, given: Any, cause: Cause, library: Any
) -> tuple[Loaded | None, Transition]:
    """What `Tx.transition` promises; `before` is the locked entity. Returns it as it is now, too."""
    moment = tx.now()
    context = Context(
        now=from_micros(moment),
        cause=cause,
        fresh_id=tx.clock.fresh_id,
        jitter=tx.clock.jitter(),
        library=library,
        behind=tx.present() < moment,
    )
    old = None if before is None else before.state
    new, happened = transition(decider, old, given, context)
    if new is None:
        return None, Transition(entity=entity, before=None, after=None, events=(), tasks=())
    specs = decider.next_tasks(new)
    after = before
    recorded: tuple[Recorded, ...] = ()
    index: EntityIndex | None = None
    if happened:
        index = decider.index(new)
        epoch = max(index.epoch, 0 if before is None else before.epoch)
        place = (index.project, index.name, index.live)
        after = Loaded(new, place, 0 if before is None else before.seq, b"" if before is None else before.head, epoch)
        encoded = [decider.encode_event(event) for event in happened]
        rows = _chain(decider, entity, after, index, happened, encoded, cause, moment)
        _reserve(tx, decider, entity, before, after, index, moment)
        recorded = _append(tx, entity, happened, encoded, rows, cause)
        _project(tx, entity, recorded)
    if after is not None:
        epoch = tasks.align(tx, entity, decider.kind, specs, after.epoch)
        if (happened and before is not None) or epoch != after.epoch:
            after.epoch = epoch
            _save.run(tx.connection, _saved(decider, entity, after, index or decider.index(new), tx.now()))
        if index is not None and index.frees is not None and before is not None and before.place[2] and not index.live:
            blocks.resolve(tx, index.frees, cause.actor)
    return after, Transition(entity=entity, before=old, after=new, events=recorded, tasks=tuple(specs))


def _chain(
    decider: Any,
    entity: str,
    after: Loaded,
    index: EntityIndex,
    happened: Sequence[Any],
    encoded: Sequence[bytes],
    cause: Cause,
    moment: int,
) -> list[dict[str, Any]]:
    """The rows of `events`; moves `after.seq` and `after.head` on."""
    at = from_micros(moment)
    after.head = after.head or chain.GENESIS
    rows = []
    for event, inner in zip(happened, encoded, strict=True):
        after.seq += 1
        envelope = chain.Envelope(
            entity=entity,
            kind=decider.kind,
            seq=after.seq,
            at=at,
            actor=cause.actor,
            request_id=cause.request_id,
            type=_type_of.decode(inner).type,
            project=index.project,
            name=index.name,
            tier=index.tier,
            operation_id=_operation_of(event),
            component=_component_of(event),
            schema_v=decider.schema_v,
            event=Raw(inner),
            pull=index.pull or cause.pull,
        )
        body = chain.seal(envelope)
        row = {name: getattr(envelope, name) for name in chain.COLUMNS}
        row |= {"at": moment, "actor_kind": cause.actor.kind, "actor_name": cause.actor.name}
        row |= {"prev_hash": after.head, "hash": chain.link(after.head, body), "body": body}
        after.head = row["hash"]
        rows.append(row)
    return rows


def _operation_of(event: Any) -> str | None:
    found = getattr(event, "operation_id", None) or getattr(getattr(event, "operation", None), "id", None)
    return found if isinstance(found, str) else None


def _component_of(event: Any) -> str | None:
    found = getattr(event, "component", None) or getattr(getattr(event, "key", None), "component", None)
    return found if isinstance(found, str) else None


def _reserve(
    tx: Transaction,
    decider: Any,
    entity: str,
    before: Loaded | None,
    after: Loaded,
    index: EntityIndex,
    moment: int,
) -> None:
    """Create the row of a new entity; make sure that nobody else has its name."""
    taken = Conflict(
        f"{decider.kind.capitalize()} {index.project}/{index.name} exists already.",
        field="name",
        mend="Choose another name, or destroy the other one first.",
    )
    if before is None:
        saved = _saved(decider, entity, after, index, moment)
        row = {name.removeprefix("new_"): value for name, value in saved.items() if name != "of_id"}
        row |= {"id": entity, "kind": decider.kind, "created_at": moment}
        if _create.run(tx.connection, row).one_or_none() is None:
            if _there.run(tx.connection, {"id": entity}).one_or_none() is not None:
                raise RunAgain  # created by a transaction that was quicker; now it can be locked
            raise taken
    elif index.live and after.place != before.place:
        wanted = {"kind": decider.kind, "project": index.project, "name": index.name}
        if _namesake.run(tx.connection, wanted).scalar() not in (None, entity):
            raise taken


def _saved(decider: Any, entity: str, after: Loaded, index: EntityIndex, moment: int) -> dict[str, Any]:
    return {
        "of_id": entity,
        "new_project": index.project,
        "new_name": index.name,
        "new_tier": index.tier,
        "new_status": index.status,
        "new_labels": index.labels,
        "new_live": index.live,
        "new_seq": after.seq,
        "new_schema_v": decider.schema_v,
        "new_epoch": after.epoch,
        "new_snapshot": decider.encode_state(after.state),
        "new_head": after.head,
        "new_expires_at": optional_micros(index.expires_at),
        "new_updated_at": moment,
    }


def _append(
    tx: Transaction,
    entity: str,
    happened: Sequence[Any],
    encoded: Sequence[bytes],
    rows: Sequence[dict[str, Any]],
    cause: Cause,
) -> tuple[Recorded, ...]:
    return tuple(
        Recorded(
            entity=entity,
            seq=row["seq"],
            at=from_micros(row["at"]),
            actor=cause.actor,
            request_id=cause.request_id,
            type=row["type"],
            event=event,
            body=inner,
            project=row["project"],
            name=row["name"],
            tier=row["tier"],
            operation_id=row["operation_id"],
            component=row["component"],
            pull=row["pull"],
            cursor=to_cursor(EventPosition(xid, number, entity, row["seq"])),
        )
        for event, inner, row, (xid, number) in zip(happened, encoded, rows, tx.append(rows), strict=True)
    )


def _project(tx: Transaction, entity: str, recorded: Sequence[Recorded]) -> None:
    """Keep the rows of operations and blocks in step with the events that every decider shares."""
    for record in recorded:
        match record.event:
            case OperationAccepted(operation=operation):
                accepted = {"id": operation.id, "entity": entity, "seq": record.seq, "body": _encode(operation)}
                _accept.run(tx.connection, accepted)
            case OperationEnded() as ended:
                end = {
                    "of_id": ended.operation_id,
                    "new_outcome": ended.outcome,
                    "new_end": _encode(ended),
                    "new_ended_at": optional_micros(record.at),
                }
                _end.run(tx.connection, end)
            case BlockRaised() as raised:
                blocks.raise_block(tx, raised, record.at)
            case _:
                pass

"""Task rows: made equal to what a state wants, leased by workers, freed when a worker dies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, text, update

from twin.domain.decider import AT_ONCE, TaskSpec
from twin.ports.store import Claimed
from twin.store.moments import to_micros
from twin.store.prepared import Prepared
from twin.store.tables import entities, events, tasks, workers
from twin.store.transact import Transaction
from twin.store.upsert import upsert

LONER_DEATHS = 2
"""From so many deaths of its workers on, a task runs alone."""

_of_entity = Prepared(
    select(tasks.c.kind, tasks.c.key, tasks.c.queue, tasks.c.due_at, tasks.c.lease_owner, tasks.c.lease_epoch).where(
        tasks.c.entity == bindparam("entity")
    )
)
_add = Prepared(insert(tasks))
_this_row = (
    (tasks.c.entity == bindparam("of_entity"))
    & (tasks.c.kind == bindparam("of_kind"))
    & (tasks.c.key == bindparam("of_key"))
)
# The lease goes with the old due time: whoever held it learns so when it starts or reports. A lease that ends this
# way did not end by a death, which is what `deaths` counts in a row. What the attempt said of itself goes with it.
_reschedule = Prepared(
    update(tasks)
    .where(_this_row)
    .values(
        queue=bindparam("new_queue"),
        due_at=bindparam("new_due"),
        lease_owner=None,
        deaths=case((tasks.c.lease_owner.is_(None), tasks.c.deaths), else_=0),
        progress=None,
    )
)
# Now running: nothing is due, and the lease stays.
_run = Prepared(update(tasks).where(_this_row).values(queue=bindparam("new_queue"), due_at=None))
# RETURNING, since a claim may have raised the epoch after we read the row.
_remove = Prepared(delete(tasks).where(_this_row).returning(tasks.c.lease_epoch))


def align(tx: Transaction, entity: str, entity_kind: str, specs: Iterable[TaskSpec], epoch: int) -> int:
    """Make the task rows of an entity equal to `specs`, writing only the difference.

    `epoch` is the highest epoch ever given to a task of the entity; returns the new one, which a removed row may
    have raised, so that no later row gives an epoch again.
    """
    connection = tx.connection
    now, present = tx.now(), tx.present()
    rows = {(row.kind, row.key): row for row in _of_entity.run(connection, {"entity": entity})}
    # Always in one order: rows are locked alike by all, and a simulated life is the same in every process.
    wanted = {(spec.kind, spec.key): spec for spec in sorted(specs, key=lambda spec: (spec.kind, spec.key))}
    for kind, key in sorted(rows.keys() - wanted.keys()):
        gone = _remove.run(connection, {"of_entity": entity, "of_kind": kind, "of_key": key})
        epoch = max(epoch, gone.scalar() or 0)
        tx.woken.discard((entity, kind, key))
    added = []
    for spec in wanted.values():
        due = None if spec.due is None else present if spec.due == AT_ONCE else to_micros(spec.due)
        if due is not None and spec.kind == "step" and spec.due != AT_ONCE:
            due -= now - present  # counted from the history, which the clock has been set back behind
        row = rows.get((spec.kind, spec.key))
        if row is None:
            added.append(
                {
                    "entity": entity,
                    "kind": spec.kind,
                    "key": spec.key,
                    "entity_kind": entity_kind,
                    "queue": spec.queue,
                    "due_at": due,
                    "lease_owner": None,
                    "lease_epoch": epoch,
                    "deaths": 0,
                }
            )
            if due is not None:
                tx.woken.add((entity, spec.kind, spec.key))
        elif spec.kind != "block":  # a block's row belongs to the block: resolving it may have made it due
            _correct(tx, entity, spec, row, due, now, present)
    if added:
        _add.run(connection, added)
    return epoch


def _correct(tx: Transaction, entity: str, spec: TaskSpec, row: Any, due: int | None, now: int, present: int) -> None:
    waits = row.due_at is not None and due is not None
    at_once = spec.due == AT_ONCE and waits and row.due_at <= present
    # Its wait began earlier by the clock that was set back: it is not begun anew.
    begun = spec.kind == "step" and present < now and waits and row.due_at <= due
    if row.queue == spec.queue and (at_once or begun or row.due_at == due):
        return
    place = {"of_entity": entity, "of_kind": spec.kind, "of_key": spec.key, "new_queue": spec.queue}
    if due is None:
        _run.run(tx.connection, place)
        tx.woken.discard((entity, spec.kind, spec.key))
    else:
        _reschedule.run(tx.connection, {**place, "new_due": due})
        tx.woken.add((entity, spec.kind, spec.key))


_free = tasks.c.lease_owner.is_(None) & tasks.c.due_at.is_not(None)
_due = _free & (tasks.c.due_at <= bindparam("now"))
_fields = (tasks.c.entity_kind, tasks.c.entity, tasks.c.kind, tasks.c.key, tasks.c.queue, tasks.c.deaths)
# SKIP LOCKED: workers never wait for each other, and two never get the same row.
_due_in_queue = (
    select(*_fields, tasks.c.lease_epoch)
    .where(_due & (tasks.c.queue == bindparam("queue")) & (tasks.c.kind == "step"))
    .order_by(tasks.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_pick = Prepared(_due_in_queue.where(tasks.c.deaths < LONER_DEATHS))
_pick_alone = Prepared(_due_in_queue.where(tasks.c.deaths >= LONER_DEATHS))
_lease = Prepared(
    update(tasks).where(_this_row).values(lease_owner=bindparam("worker"), lease_epoch=tasks.c.lease_epoch + 1)
)


_leased = Prepared(
    select(tasks.c.queue, func.count().label("number")).where(tasks.c.lease_owner.is_not(None)).group_by(tasks.c.queue)
)
# Counting and leasing must be one: workers take turns on a queue that has a ceiling.
_take_turns = Prepared(text("SELECT pg_advisory_xact_lock(hashtextextended('twin.queue.' || :queue, 0))"))


def claim(
    tx: Transaction, worker: str, free: dict[str, int], limit: int, ceilings: Mapping[str, int], *, alone: bool
) -> list[Claimed]:
    """Lease due steps, of each queue no more than its free slots and than its ceiling over all workers allows; with
    `alone` one that has killed its workers."""
    pick, left = (_pick_alone, min(limit, 1)) if alone else (_pick, limit)
    if tx.connection.dialect.name == "postgresql":
        for queue in sorted(free.keys() & ceilings.keys()):
            _take_turns.run(tx.connection, {"queue": queue})
    leased: dict[str, int] = {row[0]: row[1] for row in _leased.run(tx.connection)} if ceilings else {}
    claimed: list[Claimed] = []
    for queue, slots in free.items():
        slots = min(slots, ceilings[queue] - leased.get(queue, 0)) if queue in ceilings else slots
        if (most := min(slots, left - len(claimed))) <= 0:
            continue
        rows = pick.run(tx.connection, {"now": tx.now(), "queue": queue, "most": most})
        claimed.extend(_claimed(row, row.lease_epoch + 1) for row in rows)
    _take(tx, worker, claimed)
    return claimed


_due_of_entity = Prepared(
    select(*_fields, tasks.c.lease_epoch)
    .where(_due & (tasks.c.entity == bindparam("entity")) & (tasks.c.kind == "step") & (tasks.c.deaths < LONER_DEATHS))
    .order_by(tasks.c.due_at, tasks.c.key)
    .with_for_update(skip_locked=True)
)
_turn_free = Prepared(text("SELECT pg_try_advisory_xact_lock(hashtextextended('twin.queue.' || :queue, 0))"))


def claim_of(tx: Transaction, worker: str, entity: str, limit: int, ceilings: Mapping[str, int]) -> list[Claimed]:
    """Lease due steps of one entity. Never waits for others: it holds the entity's lock."""
    rows = _due_of_entity.run(tx.connection, {"now": tx.present(), "entity": entity}).all()
    if not rows:
        return []
    left = dict(ceilings)
    if tx.connection.dialect.name == "postgresql":
        for queue in {row.queue for row in rows}:
            if not _turn_free.run(tx.connection, {"queue": queue}).scalar():
                left[queue] = 0
    for queue, taken in _leased.run(tx.connection):
        left[queue] = left.get(queue, 0) - taken
    claimed: list[Claimed] = []
    for row in rows:
        if len(claimed) < limit and left.get(row.queue, 0) > 0:
            left[row.queue] -= 1
            claimed.append(_claimed(row, row.lease_epoch + 1))
    _take(tx, worker, claimed)
    return claimed


def _take(tx: Transaction, worker: str, claimed: Sequence[Claimed]) -> None:
    if claimed:
        leases = [{"of_entity": t.entity, "of_kind": t.kind, "of_key": t.key, "worker": worker} for t in claimed]
        _lease.run(tx.connection, leases)
        tx.woken.difference_update((task.entity, task.kind, task.key) for task in claimed)


def _claimed(row: Any, epoch: int) -> Claimed:
    return Claimed(
        entity_kind=row.entity_kind,
        entity=row.entity,
        kind=row.kind,
        key=row.key,
        queue=row.queue,
        epoch=epoch,
        deaths=row.deaths,
    )


_under_epoch = _this_row & (tasks.c.lease_epoch == bindparam("epoch")) & tasks.c.lease_owner.is_not(None)
_holder = Prepared(select(tasks.c.lease_owner).where(_under_epoch))
_take_due = Prepared(update(tasks).where(_this_row & (tasks.c.due_at <= bindparam("now"))).values(due_at=None))
_release = Prepared(
    update(tasks).where(_under_epoch).values(lease_owner=None, deaths=tasks.c.deaths + bindparam("died"), progress=None)
)
_end_wait = Prepared(update(tasks).where(_under_epoch).values(due_at=None))
_put_off = Prepared(update(tasks).where(_under_epoch).values(lease_owner=None, due_at=bindparam("new_due")))
# By its key alone: one row is locked and no other, so that it waits for nobody who holds more than that.
_tell = Prepared(update(tasks).where(_under_epoch).values(progress=bindparam("text")))
_told = Prepared(
    select(tasks.c.key, tasks.c.progress).where(
        (tasks.c.entity == bindparam("entity")) & (tasks.c.kind == "step") & tasks.c.progress.is_not(None)
    )
)


def holder(tx: Transaction, task: Claimed) -> str | None:
    """Who leases the task under this epoch."""
    owner: str | None = _holder.run(tx.connection, _place(task)).scalar()
    return owner


def take(tx: Transaction, task: Claimed) -> bool:
    """Whether the time has come at which a task without lease is due; then nothing is due any more."""
    return _take_due.run(tx.connection, {**_place(task), "now": tx.now()}).rowcount > 0


def release(tx: Transaction, task: Claimed, *, died: bool) -> bool:
    """End the lease of this epoch; False if there is none."""
    freed = _release.run(tx.connection, {**_place(task), "died": int(died)}).rowcount > 0
    if freed:
        tx.woken.add((task.entity, task.kind, task.key))
    return freed


def end_wait(tx: Transaction, task: Claimed) -> bool:
    """Have nothing be due under the lease of this epoch; False if there is none."""
    return _end_wait.run(tx.connection, _place(task)).rowcount > 0


def put_off(tx: Transaction, task: Claimed, seconds: float) -> None:
    """End the lease of this epoch and make the task due later."""
    due = tx.now() + int(seconds * 1_000_000)
    _put_off.run(tx.connection, {**_place(task), "new_due": due})


def tell(tx: Transaction, task: Claimed, text: str) -> bool:
    """Keep what the attempt of this epoch says; False if its lease is over."""
    return _tell.run(tx.connection, {**_place(task), "text": text}).rowcount > 0


def told(connection: Connection, entity: str) -> dict[str, str]:
    """What the running steps of an entity say, by their keys."""
    return {row.key: row.progress for row in _told.run(connection, {"entity": entity})}


def _place(task: Claimed) -> dict[str, Any]:
    return {"of_entity": task.entity, "of_kind": task.kind, "of_key": task.key, "epoch": task.epoch}


_due_queues = Prepared(select(tasks.c.queue).where(_due & (tasks.c.kind == "step")).distinct())
_loners = Prepared(
    select(tasks.c.key).where(_due & (tasks.c.kind == "step") & (tasks.c.deaths >= LONER_DEATHS)).limit(1)
)
_next_due = Prepared(select(func.min(tasks.c.due_at).label("due_at")).where(_free))
_due_timers = Prepared(
    select(*_fields)
    .where(_due & ((tasks.c.kind == "timer") | (tasks.c.kind == "block")))
    .order_by(tasks.c.due_at)
    .limit(bindparam("most"))
)


_newest = Prepared(select(events.c.at).order_by(events.c.id.desc()).limit(1))
_waiting = Prepared(
    select(tasks.c.entity_kind, tasks.c.entity)
    .join(entities, entities.c.id == tasks.c.entity)
    .where(_free & (tasks.c.kind == "step") & (tasks.c.due_at > bindparam("now")))
    .where(entities.c.updated_at > bindparam("now"))
    .order_by(tasks.c.entity)
    .distinct()
)
SET_BACK = 10_000_000
"""Microseconds by which clocks may be corrected without notice: what waits, waits so much longer."""


def waiting_behind(connection: Connection, now: int, seen: int | None) -> list[Claimed]:
    """If the clock was set back since `seen` (None: since the last event was written), a timer for each entity whose
    steps wait for a time as the clock was before."""
    if (_newest.run(connection).scalar() or 0 if seen is None else seen) - now < SET_BACK:
        return []
    rows = _waiting.run(connection, {"now": now})
    return [
        Claimed(entity_kind=row.entity_kind, entity=row.entity, kind="timer", key="clock", queue="", epoch=0, deaths=0)
        for row in rows
    ]


def queues(connection: Connection, now: int) -> list[str]:
    """Queues that have a due step."""
    return [row.queue for row in _due_queues.run(connection, {"now": now})]


def loners_due(connection: Connection, now: int) -> bool:
    """Whether a step is due that must run alone."""
    return _loners.run(connection, {"now": now}).scalar() is not None


def next_due(connection: Connection) -> int | None:
    """When the next unleased task is due."""
    due: int | None = _next_due.run(connection).scalar()
    return due


def due_timers(connection: Connection, now: int, limit: int) -> list[Claimed]:
    """Due timers and resolved blocks, the longest due first."""
    return [_claimed(row, 0) for row in _due_timers.run(connection, {"now": now, "most": limit})]


_row = upsert(workers)
_announce = Prepared(
    _row.on_conflict_do_update(
        index_elements=["name"],
        set_={"host": _row.excluded.host, "pid": _row.excluded.pid, "beat_at": _row.excluded.beat_at},
    )
)
_beat = Prepared(
    _row.on_conflict_do_update(
        index_elements=["name"],
        # Never backwards: a late heartbeat must not undo a newer one.
        set_={
            "beat_at": case((workers.c.beat_at > _row.excluded.beat_at, workers.c.beat_at), else_=_row.excluded.beat_at)
        },
    )
)
_pull_beats = Prepared(update(workers).where(workers.c.beat_at > bindparam("latest")).values(beat_at=bindparam("now")))
_forget_beats = Prepared(update(workers).where(workers.c.name != bindparam("worker")).values(beat_at=0))
_this_worker = delete(workers).where(workers.c.name == bindparam("worker"))
_bury = Prepared(_this_worker)
_bury_silent = Prepared(_this_worker.where(workers.c.beat_at < bindparam("latest")))
# A lease whose worker has no row counts as a dead one's, or nobody would ever free it.
_silent = Prepared(select(workers.c.name).where(workers.c.beat_at < bindparam("latest")).order_by(workers.c.name))
_unknown = Prepared(
    select(tasks.c.lease_owner)
    .where(tasks.c.lease_owner.is_not(None) & tasks.c.lease_owner.not_in(select(workers.c.name)))
    .distinct()
)
_held = Prepared(select(*_fields, tasks.c.lease_epoch).where(tasks.c.lease_owner == bindparam("worker")))

_every_lease = Prepared(
    select(*_fields, tasks.c.lease_epoch, tasks.c.lease_owner).where(tasks.c.lease_owner.is_not(None))
)


def register(tx: Transaction, worker: str, host: str, pid: int, *, alone: bool) -> None:
    """Announce a worker; if it is `alone` on the database, all others are dead from now on."""
    _announce.run(tx.connection, {"name": worker, "host": host, "pid": pid, "beat_at": tx.now()})
    if alone:
        _forget_beats.run(tx.connection, {"worker": worker})


def beat(tx: Transaction, worker: str) -> None:
    """Extend a worker's lease; one that was buried too early is back again. Heartbeats of a time that is still to come,
    as the clock was set back, count as of now: who is dead must be found dead all the same."""
    _beat.run(tx.connection, {"name": worker, "host": "", "pid": 0, "beat_at": tx.now()})
    _pull_beats.run(tx.connection, {"now": tx.now(), "latest": tx.now() + SET_BACK})


def dead(connection: Connection, now: int, lease: float) -> list[tuple[str, Sequence[Claimed]]]:
    """Workers silent for `lease` seconds, with what they hold."""
    silent = [row.name for row in _silent.run(connection, {"latest": now - int(lease * 1_000_000)})]
    unknown = [row.lease_owner for row in _unknown.run(connection)]
    found: dict[str, list[Claimed]] = {name: [] for name in (*silent, *unknown)}
    for row in _every_lease.run(connection) if found else ():
        if row.lease_owner in found:
            found[row.lease_owner].append(_claimed(row, row.lease_epoch))
    return list(found.items())


def held(connection: Connection, worker: str) -> list[Claimed]:
    """What a worker leases."""
    return [_claimed(row, row.lease_epoch) for row in _held.run(connection, {"worker": worker})]


def bury(tx: Transaction, worker: str, silent: float | None = None) -> None:
    """Forget a worker; with `silent`, unless it has beaten in so many seconds."""
    if silent is None:
        _bury.run(tx.connection, {"worker": worker})
    else:
        _bury_silent.run(tx.connection, {"worker": worker, "latest": tx.now() - int(silent * 1_000_000)})

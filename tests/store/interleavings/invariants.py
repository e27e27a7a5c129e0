"""What must hold after every schedule, whatever the order was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg.rows import dict_row

from tests.store.interleavings.scene import Act, run
from tests.store.interleavings.stepping import Played
from twin.domain.decider import AT_ONCE, TaskSpec
from twin.domain.environment import Environment
from twin.domain.errors import Conflict, NotFound, Rejected
from twin.domain.events import StepStarted
from twin.domain.operations import OperationAccepted
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import EventFilter
from twin.store.moments import to_micros


class Broken(AssertionError):
    """A schedule after which something does not hold."""


def judge(act: Act, played: Played) -> None:
    """Raise `Broken` with all that is wrong, and the schedule."""
    wrong = list(_wrong(act, played))
    if wrong:
        raise Broken("\n".join([*wrong, "after", str(played)]))


def _wrong(act: Act, played: Played) -> Iterator[str]:
    yield from (f"a statement failed with SQLSTATE {state}" for state in played.states)
    for name, error in played.errors.items():
        if not isinstance(error, Rejected | NotFound | Conflict):
            yield f"{name} ended with {error!r}"
    yield from _unique_claims(act)
    logged: set[str] = set()
    for environment in act.environments:
        yield from _history(act, environment, logged)
    yield from _acknowledged(act, logged)
    yield from _once(act)
    yield from _ceiling(act)
    if (fresh := act.free() - act.free_before) and not act.scene.heard():
        yield f"nobody was told of {fresh}"


def _once(act: Act) -> Iterator[str]:
    """Requests with the same key were accepted once; a name has one twin."""
    for rows in (act.keyed.values(), act.named.values()):
        yield from (f"accepted as {sorted(each)}" for each in rows if len(each) > 1)


def _ceiling(act: Act) -> Iterator[str]:
    leased = "SELECT queue, count(*) FROM tasks WHERE lease_owner IS NOT NULL GROUP BY queue"
    for queue, count in act.scene.monitor.execute(leased).fetchall():
        if count > act.scene.ceiling:
            yield f"{count} steps of {queue} are leased, and {act.scene.ceiling} may be"


def _unique_claims(act: Act) -> Iterator[str]:
    epochs = [(entity, key, epoch) for _, entity, key, epoch in act.claimed]
    if len(set(epochs)) < len(epochs):
        yield f"two claims got the same epoch: {sorted(act.claimed)}"


def _history(act: Act, environment: str, logged: set[str]) -> Iterator[str]:
    store = act.scene.store
    row = run(store.entity(ENVIRONMENT.kind, environment))
    assert row is not None
    events = run(store.events(EventFilter(entity=environment), limit=1000)).items
    state: Environment | None = None
    epochs = set()
    for recorded in events:
        event = recorded.event
        if isinstance(event, StepStarted):
            if state is not None and str(event.key) in state.running:
                yield f"{event.key} was started while it ran"
            if (str(event.key), event.epoch) in epochs:
                yield f"{event.key} was started twice under epoch {event.epoch}"
            epochs.add((str(event.key), event.epoch))
        elif isinstance(event, OperationAccepted):
            logged.add(event.operation.id)
        state = ENVIRONMENT.evolve(state, event)
    if state != row.state:
        yield f"the snapshot is not the fold of the events: {row.state} != {state}"
    yield from (f"chain: {finding}" for finding in run(store.verify(environment)).findings)
    yield from _tasks(act, row.state)


def _tasks(act: Act, env: Environment) -> Iterator[str]:
    with act.scene.monitor.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("SELECT * FROM tasks WHERE entity = %s", [env.id]).fetchall()
        opened = cursor.execute("SELECT key FROM blocks WHERE resolved_at IS NULL").fetchall()
        (now,) = cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now").fetchall()
    rows = {(row["kind"], row["key"]): row for row in found}
    wanted = {(spec.kind, spec.key): spec for spec in ENVIRONMENT.next_tasks(env)}
    if rows.keys() != wanted.keys():
        yield f"tasks are {sorted(rows)}, wanted are {sorted(wanted)}"
        return
    blocks = {row["key"] for row in opened}
    for place, spec in wanted.items():
        yield from _task(act, env, rows[place], spec, now["now"], blocks)


def _task(act: Act, env: Environment, row: Any, spec: TaskSpec, now: int, blocks: set[str]) -> Iterator[str]:
    held = (row["lease_owner"], env.id, spec.key, row["lease_epoch"])
    if row["queue"] != spec.queue:
        yield f"{spec.key} is on {row['queue']}, wanted on {spec.queue}"
    if row["lease_owner"] is not None and held not in act.held:
        yield f"{held} is leased, and its worker does not know"
    if spec.kind == "block":
        if row["due_at"] is None and spec.key not in blocks:
            yield f"{spec.key} waits for a block that was resolved"
    elif spec.due is None:
        running = env.running[spec.key]
        if row["due_at"] is not None or (row["lease_owner"], row["lease_epoch"]) != (running.worker, running.epoch):
            yield f"{spec.key} runs as {running.worker}/{running.epoch}, its row is {row}"
    elif row["due_at"] is None or (
        row["due_at"] > now if spec.due == AT_ONCE else row["due_at"] != to_micros(spec.due)
    ):
        yield f"{spec.key} should be due at {spec.due}, its row is {row}"


def _acknowledged(act: Act, logged: set[str]) -> Iterator[str]:
    operations = "SELECT id FROM operations WHERE entity = ANY(%s)"
    rows = {row[0] for row in act.scene.monitor.execute(operations, [act.environments]).fetchall()}
    for accepted in act.accepted:
        if accepted.operation.id not in logged & rows:
            yield f"{accepted.operation.id} was acknowledged, and is not in the log or no row"

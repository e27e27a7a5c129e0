"""The oracle: looks at every commit, knows nothing but what is in the database, and says when a rule is broken."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct, field

from twin.domain.decider import AT_ONCE
from twin.domain.environment import Environment
from twin.domain.events import (
    Abandoned,
    ComponentObserved,
    Created,
    DesiredChanged,
    Destroyed,
    DestructionBegun,
    FailuresCleared,
    LateEffect,
    PlacementSwept,
    ResultRefused,
    StepFailed,
    StepLost,
    StepStarted,
    StepStopped,
    StepSucceeded,
)
from twin.domain.identity import ComponentRef
from twin.domain.operations import OperationAccepted, OperationEnded
from twin.domain.platform import Fact
from twin.domain.steps import StepKey
from twin.domain.timers import next_tasks
from twin.domain.twin import ENVIRONMENT
from twin.store import chain
from twin.store.moments import from_micros, to_micros
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.promises import Promises
from twin.testing.simulator.pulls.oracle import PullOracle
from twin.testing.simulator.pulls.truth import ForgeTruth
from twin.testing.simulator.rest import Rest
from twin.testing.simulator.server import TOO_MANY
from twin.testing.simulator.worlds import Worlds

_NEW = "SELECT id, entity, seq, at, type, prev_hash, hash, body FROM events WHERE id > ? ORDER BY id"
_SET_BACK = 61_000_000
"""Microseconds by which clocks are set back at most."""
_DUES = "SELECT entity, kind, key, due_at FROM tasks"
_ROWS = "SELECT kind, key, queue, due_at, lease_owner FROM tasks WHERE entity = ?"
_SNAPSHOT = "SELECT snapshot, seq, head, live FROM entities WHERE id = ?"
_HELD_BY_NOBODY = "SELECT entity, key FROM tasks WHERE kind = 'step' AND due_at IS NULL AND lease_owner IS NULL LIMIT 1"
_UNLIFTED = (
    "SELECT t.entity, t.key FROM tasks t JOIN blocks b ON b.key = t.key"
    " WHERE t.kind = 'block' AND t.due_at IS NULL AND b.resolved_at IS NOT NULL LIMIT 1"
)
_OPEN = (StepSucceeded, StepFailed, StepStopped, StepLost, ComponentObserved, PlacementSwept)


class Life(Struct):
    """What the oracle knows of one twin. `run`: key -> (epoch, worker) of attempts whose end was not seen;
    `started`: every (key, epoch) ever; `failed`: the number of the last failed attempt of keys that nothing else may
    have changed since; `leaving`: instances whose removal was begun; `intents`: calls that a worker may still make;
    `patience`: until when a server wants to be left alone, as the twin was told; `ended`: the attempt that was just
    lost or has swept."""

    state: Environment | None = None
    seq: int = 0
    head: bytes = chain.GENESIS
    run: dict[str, tuple[int, str]] = field(default_factory=dict)
    started: set[tuple[str, int]] = field(default_factory=set)
    failed: dict[str, int] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    intents: dict[tuple[str, str], int] = field(default_factory=dict)
    placed: set[str] = field(default_factory=set)
    due: dict[tuple[str, str], int | None] = field(default_factory=dict)
    patience: dict[str, float] = field(default_factory=dict)
    ended: tuple[str, int] | None = None


class Oracle:
    """`lives` by entity; `accepted` and `ended` operations; `digest` of all that was ever committed."""

    def __init__(self, worlds: Worlds, truth: ForgeTruth, journal: Journal) -> None:
        self.lives: dict[str, Life] = {}
        self.accepted: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.events = 0
        self.digest = chain.GENESIS
        self.tolerance = 1.0
        self.rest = Rest(worlds, journal)
        self.promises = Promises(lambda entity: self.lives[entity].state, journal)
        self.pulls = PullOracle(truth, journal)
        self._worlds = worlds
        self._journal = journal
        self._last = 0
        self._latest = 0

    # -- what others ask

    def runs(self, entity: str, key: str, epoch: int) -> str | None:
        """The worker of an attempt that runs."""
        life = self.lives.get(entity)
        running = life.run.get(key) if life is not None else None
        return running[1] if running is not None and running[0] == epoch else None

    def runs_now(self, environment: str, worker: str, key: str) -> bool:
        """Whether a call belongs to an attempt that has not ended."""
        running = self.lives[environment].run.get(key.removeprefix(f"{environment}:"))
        return running is not None and running[1] == worker

    def state(self, entity: str) -> Environment:
        """The fold of its events."""
        state = self.lives[entity].state
        assert state is not None
        return state

    def waits_for_acknowledgement(self, entity: str) -> bool:
        """Whether somebody outside has to say that a new credential is in use."""
        env = self.lives[entity].state
        return env is not None and any(
            len(instance.credentials) > 1
            and instance.credentials[-1].acknowledged_by is None
            and env.desired.components[instance.component].rotation.acknowledge
            for instance in env.instances.values()
            if instance.component in env.desired.components
        )

    def calls(self, environment: str, worker: str, ref: ComponentRef, verb: str, key: str) -> None:
        """A call is about to be made: its intent was committed, for this worker and for one call; what it needs
        stands; no server asked for patience."""
        life = self.lives[environment]
        step = key.removeprefix(f"{environment}:")
        left = life.intents.get((step, worker), 0)
        self._journal.must(left > 0, "a call without intent", f"{step} by {worker}", environment)
        life.intents[step, worker] = left - 1
        current = life.run.get(step)
        if current is not None and current[1] == worker:  # what comes late does not know what others were told
            early = life.patience.pop(step, 0.0) - asyncio.get_running_loop().time()
            self._journal.must(early <= self.tolerance, "a server's wish to wait is ignored", step, environment)

    # -- every commit

    def __call__(self, raw: sqlite3.Connection, *, rang: bool) -> None:
        """See `twin.testing.simulator.database.Witness`."""
        touched: dict[str, None] = {}
        for number, entity, seq, at, kind, before, link, body in raw.execute(_NEW, (self._last,)):
            self._last = number
            life = self.lives.setdefault(entity, Life())
            self._latest = max(self._latest, at)
            linked = before == life.head and chain.link(before, body) == link and seq == life.seq + 1
            self._journal.must(linked, "the chain is broken", f"seq {seq}", entity)
            life.head, life.seq = link, seq
            self.digest = chain.link(self.digest, body)
            self.events += 1
            if entity.startswith("env_"):
                event = ENVIRONMENT.decode_event(bytes(chain.unseal(body).event), ENVIRONMENT.schema_v)
                self._judge(entity, life, event)
                self.promises.judge(entity, event, from_micros(at))
                was, life.state = life.state, ENVIRONMENT.evolve(life.state, event)
                self.pulls.changed(was, life.state, event, body)
                touched[entity] = None
            elif kind == "fact":
                self._fact(raw, msgspec.json.decode(chain.unseal(body).event, type=Fact))
            else:
                self.pulls.heard(entity, seq, link, body)
        self.promises.committed()
        self.pulls.committed(raw, self._latest)
        for entity in touched:
            self._compare(raw, entity, rang=rang)
        if rang and not touched:  # no event: a wait that was counted anew, for the clock was set back, or a lease ended
            for entity, kind, key, due in raw.execute(_DUES):
                if entity in self.lives:
                    self.lives[entity].due[kind, key] = due
        stray = raw.execute(_HELD_BY_NOBODY).fetchone()
        self._journal.must(stray is None, "a running step is leased by nobody", str(stray), stray and stray[0])

    def _fact(self, raw: sqlite3.Connection, fact: Fact) -> None:
        if fact.what == "block_resolved":
            left = raw.execute(_UNLIFTED).fetchone()
            self._journal.must(left is None, "a resolved block still stops a twin", str(left), left and left[0])

    def _compare(self, raw: sqlite3.Connection, entity: str, *, rang: bool) -> None:
        """The snapshot is the fold; the task rows are what the state wants; who made something due has rung."""
        life, must = self.lives[entity], self._journal.must
        env = self.state(entity)
        snapshot, seq, head, live = raw.execute(_SNAPSHOT, (entity,)).fetchone()
        must((seq, head) == (life.seq, life.head), "the snapshot is not of the last event", f"{seq}", entity)
        same = snapshot == ENVIRONMENT.encode_state(env) or ENVIRONMENT.decode_state(snapshot, 1) == env
        must(same, "the snapshot is not the fold of the events", "", entity)
        must(bool(live) == (not env.released), "the name is free or not", "", entity)
        rows = {(kind, key): (queue, due, owner) for kind, key, queue, due, owner in raw.execute(_ROWS, (entity,))}
        specs = {(spec.kind, spec.key): spec for spec in next_tasks(env)}
        if rows.keys() != specs.keys():
            detail = f"{sorted(rows.keys() - specs.keys())} too many, {sorted(specs.keys() - rows.keys())} missing"
            raise self._journal.broken("task rows are not what is next", detail, entity)
        due_now: dict[tuple[str, str], int | None] = {}
        fresh: list[tuple[str, str]] = []
        for place, spec in specs.items():
            queue, due, owner = rows[place]
            if spec.kind == "block":
                right = due is None or due <= self._latest
            elif spec.due is None:
                right = due is None
            elif spec.due == AT_ONCE:
                right = due is not None and due <= self._latest
            else:
                # A step's wait is counted by the clock, and that may have been set back behind the history.
                slack = _SET_BACK if spec.kind == "step" else 0
                right = due is not None and 0 <= to_micros(spec.due) - due <= slack
            must(right and queue == spec.queue, "a task is due at another time", f"{spec} but {rows[place]}", entity)
            due_now[place] = due
            if spec.kind != "block" and owner is None and due is not None and life.due.get(place) != due:
                fresh.append(place)
        must(rang or not fresh, "what became due woke nobody", str(fresh), entity)
        life.due = due_now
        if self.rest.reached(env):
            self.rest.entered(env)
            self.rest.taken_over(env)

    def _judge(self, entity: str, life: Life, event: Any) -> None:
        """The rules of history. Each is about events alone."""
        must = self._journal.must
        match event:
            case Created():
                must(life.state is None, "created twice", "", entity)
            case OperationAccepted(operation=operation):
                must(operation.id not in self.accepted, "accepted twice", operation.id, entity)
                self.accepted[operation.id] = entity
            case OperationEnded(operation_id=operation_id, outcome=outcome):
                must(operation_id in self.accepted, "ended without being accepted", operation_id, entity)
                must(operation_id not in self.ended, "an operation ends twice", operation_id, entity)
                self.ended[operation_id] = outcome
            case StepStarted():
                self._started(entity, life, event)
            case _ if isinstance(event, _OPEN) and not (isinstance(event, StepFailed) and event.epoch == 0):
                self._ended(entity, life, event)
            case DesiredChanged() | DestructionBegun():
                life.failed.clear()
                life.patience.clear()
            case FailuresCleared(keys=keys):
                life.patience.clear()
                if str(event.block).startswith("policy/") or event.operation_id is not None:
                    life.failed = {key: last for key, last in life.failed.items() if key not in keys}
            case Abandoned(instances=gone):
                life.run = {key: run for key, run in life.run.items() if StepKey.parse(key).instance not in gone}
                life.leaving |= set(gone)
                life.failed.clear()
                life.patience.clear()
                life.placed = {target for target in life.placed if life.state and target in life.state.placements}
            case Destroyed(certificate=certificate):
                self._certified(entity, life, {each.placement.target for each in certificate.inventories})
            case ResultRefused(key=key, epoch=epoch):
                running = life.run.get(str(key))
                must(running is None or running[0] != epoch, "a valid result is refused", str(key), entity)
            case LateEffect():
                life.failed.clear()
            case _:
                pass

    def _started(self, entity: str, life: Life, event: StepStarted) -> None:
        must, key, text = self._journal.must, event.key, str(event.key)
        must((text, event.epoch) not in life.started, "an epoch is given twice", text, entity)
        must(text not in life.run, "a step runs twice", text, entity)
        acting = [other for other in life.run if StepKey.parse(other).instance == key.instance]
        must(not acting, "an instance is worked on twice", f"{text} beside {acting}", entity)
        life.started.add((text, event.epoch))
        self._worlds.told.pop(f"{entity}:{text}", None)  # told to an attempt that was lost: the twin never heard it
        life.run[text] = (event.epoch, event.worker)
        life.intents[text, event.worker] = life.intents.get((text, event.worker), 0) + 1
        if (last := life.failed.get(text)) is not None:
            must(event.attempt == last + 1, "attempts are forgotten", f"{text}: {event.attempt} after {last}", entity)
        if key.verb == "apply":
            must(key.instance not in life.leaving, "what is being removed is used again", text, entity)
            life.placed.add(event.target)
        elif key.verb in ("remove", "suspend") and life.state is not None:
            held = [hold.name for hold in life.state.holds.values() if key.instance in hold.instances]
            must(not held, "a source goes while it is copied", f"{text} by {held}", entity)
            if key.verb == "remove":
                life.leaving.add(key.instance)
        elif key.verb == "sweep" and life.state is not None:
            slack = timedelta(seconds=self.promises.slack)
            early = [until for until in life.state.unsettled.values() if until > event.at + slack]
            must(not early, "the inventory comes before all has settled", text, entity)

    def _ended(self, entity: str, life: Life, event: Any) -> None:
        must, text = self._journal.must, str(event.key)
        if isinstance(event, StepFailed) and life.ended == (text, event.epoch):
            return  # what an inventory found, or one death too many, is a failure of the same attempt
        running = life.run.pop(text, None)
        life.ended = (text, event.epoch) if isinstance(event, PlacementSwept | StepLost) else None
        seen = f"{text}: {type(event).__name__} of epoch {event.epoch}, running {running}"
        must(running is not None and running[0] == event.epoch, "a result of another attempt is believed", seen, entity)
        if isinstance(event, StepFailed):
            life.failed[text] = event.attempt
            if event.failure.kind == "transient" and event.failure.message == TOO_MANY:
                worker, until = self._worlds.told.get(f"{entity}:{text}", ("", 0.0))
                life.patience[text] = until if running is not None and worker == running[1] else 0.0
        elif isinstance(event, StepSucceeded | ComponentObserved | PlacementSwept):
            life.failed.clear()
        if isinstance(event, StepSucceeded) and event.key.verb in ("seed", "retire") and life.state is not None:
            key = event.key
            ref = life.state.ref(key.component, key.incarnation, life.state.instances[key.instance].type)
            if key.verb == "retire":
                self._worlds.retire(entity, ref.name, int(key.digest))
                return
            whole = self._worlds.copied(entity, ref.name) is not None or entity in self._worlds.strayed
            must(whole, "a copy counts as made that is not", text, entity)
            self.rest.copied.setdefault(entity, set()).add(key.instance)

    def _certified(self, entity: str, life: Life, asked: set[str]) -> None:
        must = self._journal.must
        must(not life.run, "a certificate while something runs", str(list(life.run)), entity)
        must(life.placed <= asked, "a certificate without inventory", f"{sorted(life.placed - asked)}", entity)
        left = sorted(name for name, _ in self._worlds.marked(entity))
        must(not left, "certified as gone, and it stands", str(left), entity)

    def moment(self) -> str:
        """The last event's time."""
        return from_micros(self._latest).isoformat()

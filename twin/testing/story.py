"""One twin on the bare domain, driven by hand: inputs go in, events and task rows come out, time is a number.

What a store and an engine do around `transition` is modelled as plainly as can be: events and snapshots go through
their JSON, task rows are corrected by difference, attempts have epochs. Each input checks what must always hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct

from twin.domain.decide import Input
from twin.domain.decider import AT_ONCE, Cause, Context, TaskSpec, transition
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.identity import Actor, OperationId, Placement
from twin.domain.library import Library
from twin.domain.operations import OperationAccepted, OperationEnded
from twin.domain.signals.base import Signal
from twin.domain.signals.create import Create
from twin.domain.steps import (
    Copied,
    EndStep,
    FailedBlocked,
    FailedTerminal,
    FailedTransient,
    FireTimer,
    LiftBlock,
    Looked,
    LoseStep,
    Result,
    StartStep,
    StepKey,
    Stopped,
    Succeeded,
    Swept,
)
from twin.domain.twin import ENVIRONMENT
from twin.testing.blueprints import make_library

ALICE = Actor("person", "alice")
BOB = Actor("person", "bob")
START = datetime(2026, 1, 5, 9, tzinfo=UTC)

_transition: Callable[[Environment | None, Input, Context], tuple[Environment | None, tuple[Event, ...]]]
_transition = partial(transition, ENVIRONMENT)


class Row(Struct):
    """A task row. `due` None: nothing is due."""

    queue: str
    due: datetime | None
    epoch: int = 0


class Attempt(Struct, frozen=True):
    """An attempt that a worker has started."""

    key: StepKey
    epoch: int
    number: int
    inputs: dict[str, Any]


class Story:
    """A twin and all that is known of it."""

    def __init__(self, library: Library | None = None, *, now: datetime = START) -> None:
        self.library = library or make_library()
        self.now = now
        self.state: Environment | None = None
        self.events: list[Event] = []
        self.rows: dict[tuple[str, str], Row] = {}
        self.ended: dict[str, OperationEnded] = {}
        self.accepted: list[str] = []
        self.done: list[str] = []
        self._folded: Environment | None = None
        self._highest_epoch = 0
        self._ids = 0

    @property
    def env(self) -> Environment:
        """The state, once there is one."""
        assert self.state is not None, "the environment was created"
        return self.state

    # -- inputs

    def give(self, given: Any, *, by: Actor = ALICE) -> tuple[Event, ...]:
        """One input, one transition."""
        after, events = _transition(self.state, given, self.context(by))
        for event in events:
            stored = ENVIRONMENT.decode_event(ENVIRONMENT.encode_event(event), ENVIRONMENT.schema_v)
            assert stored == event, "an event reads back as it was written"
            self._folded = ENVIRONMENT.evolve(self._folded, stored)
            self._note(event)
        self.events.extend(events)
        if after is not None:
            self.state = ENVIRONMENT.decode_state(ENVIRONMENT.encode_state(after), ENVIRONMENT.schema_v)
            assert self.state == after, "a snapshot reads back as it was written"
            assert self._folded == after, "the state is the fold of its history"
            assert ENVIRONMENT.advance(after, self.context(by)) == (), "advance leaves nothing to follow"
            self._align(ENVIRONMENT.next_tasks(after))
        return events

    def send(self, signal: Signal, *, by: Actor = ALICE) -> OperationId:
        """A signal; the id of its operation."""
        events = self.give(signal, by=by)
        return next(event.operation.id for event in events if isinstance(event, OperationAccepted))

    def create(self, blueprint: str = "guestbook", **fields: Any) -> OperationId:
        """An environment shop/dev."""
        name, project = fields.pop("name", "dev"), fields.pop("project", "shop")
        return self.send(
            Create(name=name, project=project, id="env_01JGUESTBOOK0000000000000", blueprint=blueprint, **fields)
        )

    def later(self, *, seconds: float = 0.0, **parts: float) -> None:
        """Time passes; nothing is done in it."""
        self.now += timedelta(seconds=seconds, **parts)

    # -- a worker

    def due(self, kind: str = "step") -> list[str]:
        """The keys of what is due now, in the order of their keys."""
        return sorted(
            key for (of, key), row in self.rows.items() if of == kind and row.due is not None and row.due <= self.now
        )

    def start(self, step: str, *, worker: str = "w1") -> Attempt:
        """Start the due step whose key begins so (`app:apply`, `db@2:remove`)."""
        found = [key for key in self.due() if begins(key, step)]
        assert found, f"{step} is due; due are {self.due()}"
        key, row = StepKey.parse(found[0]), self.rows["step", found[0]]
        row.epoch += 1
        self.give(StartStep(key=key, epoch=row.epoch, worker=worker, placement=self.placement(row.queue)))
        assert found[0] in self.env.running, f"{found[0]} was due, so it may start"
        running = self.env.running[found[0]]
        return Attempt(key, row.epoch, running.attempt, running.inputs)

    def end(self, attempt: Attempt, result: Result) -> tuple[Event, ...]:
        """The attempt's result comes in."""
        return self.give(EndStep(key=attempt.key, epoch=attempt.epoch, result=result))

    def succeed(self, attempt: Attempt, **more: Any) -> tuple[Event, ...]:
        """It did what it should."""
        self.done.append(f"{attempt.key.instance}:{attempt.key.verb}")
        return self.end(attempt, self.success(attempt.key, **more))

    def success(self, key: StepKey, **more: Any) -> Result:
        """What a step of that kind reports when all is well."""
        placement = self.placement("run-1" if key.component == "app" else "data-1")
        if key.verb == "observe":
            return Looked(present=True, **more)
        if key.verb == "sweep":
            return Swept(placement=self.placement(key.component), **more)
        makes = key.verb in ("apply", "issue")
        outputs = {"host": f"{key.instance}.test", "url": f"http://{key.instance}"} if makes else {}
        if key.verb == "issue":  # an engine counts what consumers are given
            more = {"credential_version": self.env.instances[key.instance].credential_version + 1, **more}
        if key.verb == "seed":
            more = {"copied": Copied(12, 345, "snapshot 7"), **more}
        return Succeeded(**{"placement": placement, "external_id": f"id-{key.instance}", "outputs": outputs, **more})

    def fail(self, attempt: Attempt, message: str = "try later", *, retry_after: float | None = None) -> None:
        """A transient failure."""
        self.end(attempt, FailedTransient(message=message, retry_after=retry_after))

    def block(self, attempt: Attempt, key: str = "data/data-1/quota") -> None:
        """It needs a human."""
        self.end(attempt, FailedBlocked(message="quota is used up", block=key, owner="platform", mend="raise it"))

    def reject(self, attempt: Attempt, message: str = "cannot be so", *, field: str | None = None) -> None:
        """A terminal failure."""
        self.end(attempt, FailedTerminal(message=message, field=field, mend="ask for something else"))

    def stop(self, attempt: Attempt) -> None:
        """It was ended on our own wish."""
        self.end(attempt, Stopped(message="no longer wanted"))

    def lose(self, attempt: Attempt, *, proven_dead: bool = True) -> None:
        """Its worker is gone."""
        self.give(LoseStep(key=attempt.key, epoch=attempt.epoch, proven_dead=proven_dead))

    def resolve(self, block: str) -> None:
        """A human resolves the block: as the store does, its task becomes due and is delivered."""
        row = self.rows.get(("block", block))
        if row is not None:
            row.due = self.now
            self.fire()

    def fire(self) -> None:
        """Deliver the timers and resolved blocks that are due."""
        for key in self.due("timer"):
            self.give(FireTimer(key), by=Actor("timer", key))
        for key in self.due("block"):
            self.rows["block", key].due = None  # raised anew by what follows, it waits for a human again
            self.give(LiftBlock(key), by=Actor("twin", "twin"))

    def work(self, *, until: str | None = None) -> list[str]:
        """Run all that is due now, everything succeeding, until nothing is or until the step is next; what was done."""
        done = len(self.done)
        for _ in range(1000):
            self.fire()
            keys = self.due()
            if not keys or (until is not None and any(begins(key, until) for key in keys)):
                return self.done[done:]
            self.succeed(self.start(keys[0]))
        raise AssertionError(f"it never comes to rest: {self.done[-8:]}")

    # -- what is known

    def outcome(self, operation: str) -> str | None:
        """How an operation ended; None while it runs."""
        return self.ended[operation].outcome if operation in self.ended else None

    def happened(self, kind: type[Any]) -> list[Any]:
        """All events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def context(self, by: Actor = ALICE) -> Context:
        """Who, when, and what is on offer; ids count up."""
        return Context(now=self.now, cause=Cause(by), fresh_id=self._fresh_id, jitter=0.5, library=self.library)

    def placement(self, target: str) -> Placement:
        """Where a target is."""
        return Placement(target, f"{target}.test:1", identity=f"server-of-{target}")

    # -- what a store does

    def _fresh_id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids:04}"

    def _note(self, event: Event) -> None:
        if isinstance(event, OperationAccepted):
            self.accepted.append(event.operation.id)
        elif isinstance(event, OperationEnded):
            assert event.operation_id in self.accepted, "only what was accepted ends"
            assert event.operation_id not in self.ended, "an operation ends once"
            self.ended[event.operation_id] = event

    def _align(self, specs: frozenset[TaskSpec]) -> None:
        wanted = {(spec.kind, spec.key): spec for spec in specs}
        assert len(wanted) == len(specs), "a task is wanted at one time only"
        for place in self.rows.keys() - wanted.keys():
            self._highest_epoch = max(self._highest_epoch, self.rows.pop(place).epoch)
        for place, spec in wanted.items():
            row = self.rows.get(place)
            due = self.now if spec.due == AT_ONCE else spec.due
            if row is None:
                self.rows[place] = Row(spec.queue, due, max(self._highest_epoch, self.env.epoch))
            elif spec.kind != "block":
                was_due = row.due is not None and row.due <= self.now
                if not (spec.due == AT_ONCE and was_due and row.queue == spec.queue):
                    row.queue, row.due = spec.queue, due


def begins(key: str, step: str) -> bool:
    """Whether a step's key is what `app:apply`, `app@2:apply` or `app` names."""
    parsed = StepKey.parse(key)
    instance, _, verb = step.partition(":")
    return key == step or (instance in (parsed.component, parsed.instance) and verb in ("", parsed.verb))


def keys_of(steps: Sequence[Any]) -> list[str]:
    """`app@1:apply` of each step, sorted."""
    return sorted(f"{step.key.instance}:{step.key.verb}" for step in steps)

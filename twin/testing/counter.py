"""The smallest decider that uses everything a store offers: a counter with steps, timers, blocks and operations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from twin.domain.decider import AT_ONCE, Context, EntityIndex, TaskSpec
from twin.domain.errors import Rejected
from twin.domain.identity import OperationId
from twin.domain.operations import BlockRaised, Exists, Operation, OperationAccepted, OperationEnded, Outcome

KIND = "counter"


class Open(Struct, frozen=True):
    """Begin to exist, or take another name."""

    project: str
    name: str
    tier: str = "dev"
    labels: dict[str, str] = {}


class Add(Struct, frozen=True):
    """Count up, as an operation if it has an id."""

    amount: int
    operation: str | None = None


class End(Struct, frozen=True):
    """End an operation."""

    operation: str
    outcome: Outcome = "succeeded"


class Plan(Struct, frozen=True):
    """Want exactly these tasks. `due` AT_ONCE, a time, or None."""

    tasks: tuple[TaskSpec, ...]
    epoch: int = 0


class Stop(Struct, frozen=True):
    """Wait for a human."""

    key: str
    component: str | None = None


class Close(Struct, frozen=True):
    """Give the name back."""


class Opened(Struct, frozen=True, tag="opened", tag_field="type"):
    """It exists."""

    project: str
    name: str
    tier: str
    labels: dict[str, str]


class Added(Struct, frozen=True, tag="added", tag_field="type"):
    """It counted."""

    amount: int


class Planned(Struct, frozen=True, tag="planned", tag_field="type"):
    """Its tasks are these."""

    tasks: tuple[TaskSpec, ...]
    epoch: int


class Closed(Struct, frozen=True, tag="closed", tag_field="type"):
    """Its name is free."""

    at: datetime


CounterEvent = Opened | Added | Planned | Closed | OperationAccepted | OperationEnded | BlockRaised


class Count(Struct, frozen=True):
    """The counter's state."""

    project: str = ""
    name: str = ""
    tier: str = "dev"
    labels: dict[str, str] = {}
    total: int = 0
    live: bool = True
    tasks: tuple[TaskSpec, ...] = ()
    epoch: int = 0


_encode = msgspec.json.Encoder().encode
_state = msgspec.json.Decoder(Count)
_event: msgspec.json.Decoder[CounterEvent] = msgspec.json.Decoder(CounterEvent)


class Counter:
    """A `Decider`."""

    kind = KIND
    schema_v = 1
    shared = True

    def decide(self, state: Count | None, given: Any, context: Context) -> tuple[CounterEvent, ...]:
        """Refuses to count before it exists, and to count by nothing."""
        match given:
            case Open():
                return (Opened(given.project, given.name, given.tier, given.labels),)
            case _ if state is None:
                raise Rejected("It does not exist.")
            case Add(amount=0):
                raise Rejected("Nothing to add.")
            case Add(operation=None):
                return (Added(given.amount),)
            case Add(amount=amount, operation=str(operation)):
                accepted = Operation(
                    id=OperationId(operation),
                    signal="add",
                    arguments={"amount": amount},
                    goal=Exists(()),
                    by=context.cause.actor,
                    accepted_at=context.now,
                )
                return OperationAccepted(accepted), Added(amount)
            case End():
                return (OperationEnded(OperationId(given.operation), given.outcome),)
            case Plan():
                return (Planned(given.tasks, given.epoch),)
            case Stop():
                raised = BlockRaised(given.key, "platform", "mend it", "it is broken", given.component)
                task = TaskSpec("block", given.key, "timers", None)
                return raised, Planned((*state.tasks, task), state.epoch)
            case Close():
                return (Closed(context.now),)
            case _:
                return ()

    def advance(self, state: Count, context: Context) -> tuple[CounterEvent, ...]:
        """Nothing follows from a count."""
        return ()

    def evolve(self, state: Count | None, event: CounterEvent) -> Count:
        """Apply one event."""
        count = state or Count()
        match event:
            case Opened():
                return msgspec.structs.replace(
                    count, project=event.project, name=event.name, tier=event.tier, labels=event.labels, live=True
                )
            case Added():
                return msgspec.structs.replace(count, total=count.total + event.amount)
            case Planned():
                return msgspec.structs.replace(count, tasks=event.tasks, epoch=event.epoch)
            case Closed():
                return msgspec.structs.replace(count, live=False, tasks=())
            case _:
                return count

    def next_tasks(self, state: Count) -> frozenset[TaskSpec]:
        """Those of the last plan."""
        return frozenset(state.tasks)

    def index(self, state: Count) -> EntityIndex:
        """Its status is `open` or `closed`. It frees the block that its label `frees` names."""
        return EntityIndex(
            project=state.project,
            name=state.name,
            tier=state.tier,
            status="open" if state.live else "closed",
            labels=state.labels,
            live=state.live,
            epoch=state.epoch,
            frees=state.labels.get("frees"),
        )

    def encode_state(self, state: Count) -> bytes:
        """JSON."""
        return _encode(state)

    def decode_state(self, body: bytes, schema_v: int) -> Count:
        """JSON."""
        return _state.decode(body)

    def encode_event(self, event: CounterEvent) -> bytes:
        """JSON with its type."""
        return _encode(event)

    def decode_event(self, body: bytes, schema_v: int) -> CounterEvent:
        """JSON with its type."""
        return _event.decode(body)


def step(key: str, queue: str = "local", *, running: bool = False, due: datetime = AT_ONCE) -> TaskSpec:
    """A step that is due at once, at a time, or running."""
    return TaskSpec("step", key, queue, None if running else due)

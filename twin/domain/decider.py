"""The generic mechanism: a durable entity is a Decider over its inputs, events and state.

    input -> decide -> events -> evolve -> state -> next_tasks -> task rows -> provider call or timer -> input

Store and engine know only what stands in this file and in `operations.py`. `deciders.py` has all kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct, field

from twin.domain.identity import Actor

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""`TaskSpec.due` of what should be done as soon as possible."""


class TaskSpec(Struct, frozen=True):
    """Something that must be due now or at a time.

    `kind` step: run the step named by `key` (queue = its target). timer: deliver `FireTimer(key)`. block: as a timer,
    but due only once the block named by `key` is resolved.
    `due` is AT_ONCE, a time, or None: nothing is due, because the step is running or the block not resolved.
    """

    kind: Literal["step", "timer", "block"]
    key: str
    queue: str
    due: datetime | None


class Cause(Struct, frozen=True):
    """Who and what led to a transition: stands in each event that it appends. `pull`: the pull request, by its entity,
    for whose sake it happens."""

    actor: Actor
    request_id: str | None = None
    pull: str | None = None


class Context(Struct, frozen=True):
    """What `decide` may know besides state and input: the time, fresh ids, a random number, and who asks.

    `jitter` is uniform in [0, 1). `fresh_id(prefix)` gives a new unique id. `behind`: the clock was set back behind the
    entity's last event, and `now` is that event's time; how long steps wait is then known by their task rows alone.
    """

    now: datetime
    cause: Cause
    fresh_id: Callable[[str], str]
    jitter: float
    library: Any = None
    behind: bool = False


class EntityIndex(Struct, frozen=True):
    """The searched columns of an entity and its highest epoch (a new task row starts from it, so that no epoch is
    ever given twice). `live` is False once the name is free again. `pull`: the pull request, by its entity, for whose
    sake all happens that happens to this one. `frees`: the block that is resolved once it lives no more, as what
    waits may then have room."""

    project: str
    name: str
    tier: str
    status: str
    labels: dict[str, str] = field(default_factory=dict)
    live: bool = True
    epoch: int = 0
    expires_at: datetime | None = None
    pull: str | None = None
    frees: str | None = None


S = TypeVar("S")
I_contra = TypeVar("I_contra", contravariant=True)
E = TypeVar("E")


class Decider(Protocol[S, I_contra, E]):
    """A kind of durable entity: pure functions over immutable values, and how they are written down.

    `shared`: transactions about other entities rely on its state (`Tx.shared`); a transition waits for them.
    """

    kind: str
    schema_v: int
    shared: bool

    def decide(self, state: S | None, given: I_contra, context: Context) -> tuple[E, ...]:
        """What follows from the input; raises `Rejected` or `Invalid`, and then nothing has changed."""
        ...

    def advance(self, state: S, context: Context) -> tuple[E, ...]:
        """What follows from the state alone: ends operations whose goal is reached. Empty when nothing more does."""
        ...

    def evolve(self, state: S | None, event: E) -> S:
        """The state after the event. Total: never refuses what has happened."""
        ...

    def next_tasks(self, state: S) -> frozenset[TaskSpec]:
        """What must be due now or at a time, given only the state."""
        ...

    def index(self, state: S) -> EntityIndex:
        """The searched columns."""
        ...

    def encode_state(self, state: S) -> bytes:
        """The snapshot."""
        ...

    def decode_state(self, body: bytes, schema_v: int) -> S:
        """A snapshot as written by this or an older version."""
        ...

    def encode_event(self, event: E) -> bytes:
        """One event as JSON with its `type`."""
        ...

    def decode_event(self, body: bytes, schema_v: int) -> E:
        """An event as written by this or an older version."""
        ...


def backoff(attempt: int, jitter: float, *, first: float = 1.0, cap: float = 60.0) -> timedelta:
    """How long to wait after failed attempt `attempt` (1, 2, …): exponential with "equal jitter", capped.

    Half of the interval is fixed and half random, so that waits still grow while twins that failed together spread.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    interval = min(cap, first * 2.0 ** min(attempt - 1, 30))
    return timedelta(seconds=interval / 2 + interval / 2 * jitter)


def fold(decider: Decider[S, Any, E], events: Any) -> S | None:
    """The state that a history of events leads to."""
    state: S | None = None
    for event in events:
        state = decider.evolve(state, event)
    return state


def transition(
    decider: Decider[S, I_contra, E], before: S | None, given: I_contra, context: Context
) -> tuple[S | None, tuple[E, ...]]:
    """decide, evolve, then advance until nothing more follows: the new state and all its events."""
    events = list(decider.decide(before, given, context))
    state: S | None = before
    for event in events:
        state = decider.evolve(state, event)
    while state is not None and (more := decider.advance(state, context)):
        for event in more:
            state = decider.evolve(state, event)
        events.extend(more)
    return state, tuple(events)

"""The platform as an entity: what happened to no environment in particular is history too.

Credentials revealed, requests refused, tokens, published blueprints, targets and blocks: facts, appended to a chain
of their own (entity `platform`).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from twin.domain.decider import Context, EntityIndex, TaskSpec

PLATFORM_ID = "platform"


class Fact(Struct, frozen=True, kw_only=True, tag_field="type", tag="fact"):
    """Input and event alike: what happened. `what` is a word (`blueprint_published`), `details` hold no secret."""

    what: str
    details: dict[str, Any] = field(default_factory=dict)
    component: str | None = None
    operation_id: str | None = None


class Platform(Struct, frozen=True):
    """How often each thing happened."""

    counts: dict[str, int] = field(default_factory=dict)


class PlatformDecider:
    """See `twin.domain.decider.Decider`: records, decides nothing, never has a task."""

    kind = "platform"
    schema_v = 1
    shared = False

    def decide(self, state: Platform | None, given: Fact, context: Context) -> tuple[Fact, ...]:
        """The fact itself."""
        return (given,)

    def advance(self, state: Platform, context: Context) -> tuple[Fact, ...]:
        """Nothing follows."""
        return ()

    def evolve(self, state: Platform | None, event: Fact) -> Platform:
        """One more of these."""
        counts = state.counts if state is not None else {}
        return Platform({**counts, event.what: counts.get(event.what, 0) + 1})

    def next_tasks(self, state: Platform) -> frozenset[TaskSpec]:
        """None, ever."""
        return frozenset()

    def index(self, state: Platform) -> EntityIndex:
        """It belongs to no project."""
        return EntityIndex(project="", name=PLATFORM_ID, tier="", status="ready")

    def encode_state(self, state: Platform) -> bytes:
        """The snapshot as JSON."""
        return msgspec.json.encode(state)

    def decode_state(self, body: bytes, schema_v: int) -> Platform:
        """The snapshot."""
        return msgspec.json.decode(body, type=Platform)

    def encode_event(self, event: Fact) -> bytes:
        """The fact as JSON."""
        return msgspec.json.encode(event)

    def decode_event(self, body: bytes, schema_v: int) -> Fact:
        """The fact."""
        return msgspec.json.decode(body, type=Fact)


PLATFORM = PlatformDecider()

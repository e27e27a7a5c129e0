"""ENVIRONMENT: the environment as a Decider, and how its states and events are written down."""

from __future__ import annotations

import msgspec

from twin.domain import decide as rules
from twin.domain.decider import Context, EntityIndex, TaskSpec
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.evolve import evolve
from twin.domain.status import status
from twin.domain.timers import next_tasks
from twin.domain.upcast import upcast_event, upcast_state

SCHEMA_V = 3

_events: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_states = msgspec.json.Decoder(Environment)
_encoder = msgspec.json.Encoder()


class EnvironmentDecider:
    """See `twin.domain.decider.Decider`."""

    kind = "environment"
    schema_v = SCHEMA_V
    shared = False

    def decide(self, state: Environment | None, given: rules.Input, context: Context) -> tuple[Event, ...]:
        """What follows from an input."""
        return rules.decide(state, given, context)

    def advance(self, state: Environment, context: Context) -> tuple[Event, ...]:
        """What follows from the state alone."""
        return rules.advance(state, context)

    def evolve(self, state: Environment | None, event: Event) -> Environment:
        """The state after an event."""
        return evolve(state, event)

    def next_tasks(self, state: Environment) -> frozenset[TaskSpec]:
        """What must be due now or at a time."""
        return next_tasks(state)

    def index(self, state: Environment) -> EntityIndex:
        """The searched columns."""
        return EntityIndex(
            project=state.project,
            name=state.name,
            tier=state.tier,
            status=status(state),
            labels=state.desired.labels,
            live=not state.released,
            epoch=state.epoch,
            expires_at=state.desired.expires_at,
        )

    def encode_state(self, state: Environment) -> bytes:
        """The snapshot as JSON."""
        return _encoder.encode(state)

    def decode_state(self, body: bytes, schema_v: int) -> Environment:
        """A snapshot of this or an older version."""
        if schema_v == SCHEMA_V:
            return _states.decode(body)
        return msgspec.convert(upcast_state(msgspec.json.decode(body), schema_v, to=SCHEMA_V), Environment)

    def encode_event(self, event: Event) -> bytes:
        """One event as JSON."""
        return _encoder.encode(event)

    def decode_event(self, body: bytes, schema_v: int) -> Event:
        """An event of this or an older version."""
        if schema_v == SCHEMA_V:
            return _events.decode(body)
        return msgspec.convert(upcast_event(msgspec.json.decode(body), schema_v, to=SCHEMA_V), Event)  # type: ignore[no-any-return]


ENVIRONMENT = EnvironmentDecider()

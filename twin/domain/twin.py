"""ENVIRONMENT: the environment as a Decider, and how its states and events are written down."""

from __future__ import annotations

from twin.domain import decide as rules
from twin.domain.codec import JsonCodec
from twin.domain.decider import Context, EntityIndex, TaskSpec
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.evolve import evolve
from twin.domain.quotas import quota_block
from twin.domain.status import status
from twin.domain.timers import next_tasks
from twin.domain.upcast import EVENTS, STATES

SCHEMA_V = 3


class EnvironmentDecider(JsonCodec[Environment, Event]):
    """See `twin.domain.decider.Decider`."""

    kind = "environment"
    schema_v = SCHEMA_V
    state, event = Environment, Event
    older_states, older_events = STATES, EVENTS
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
        follower = state.follower
        return EntityIndex(
            project=state.project,
            name=state.name,
            tier=state.tier,
            status=status(state),
            labels=state.desired.labels,
            live=not state.released,
            epoch=state.epoch,
            expires_at=state.desired.expires_at,
            pull=follower.entity if follower is not None and follower.kind == "pull_request" else None,
            frees=quota_block(state.project),
        )


ENVIRONMENT = EnvironmentDecider()

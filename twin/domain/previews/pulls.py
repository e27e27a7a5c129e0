"""PULL_REQUEST: the pull request as a Decider, and how its states and events are written down."""

from __future__ import annotations

import msgspec

from twin.domain.decider import Context, EntityIndex, TaskSpec
from twin.domain.previews import decide as rules
from twin.domain.previews.events import Event
from twin.domain.previews.evolve import evolve
from twin.domain.previews.inputs import Input
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.standing import standing
from twin.domain.previews.tasks import next_tasks
from twin.domain.previews.words import phase
from twin.domain.upcast import upcast_event, upcast_state

SCHEMA_V = 1

_events: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_states = msgspec.json.Decoder(PullRequest)
_encoder = msgspec.json.Encoder()


class PullRequestDecider:
    """See `twin.domain.decider.Decider`."""

    kind = "pull_request"
    schema_v = SCHEMA_V
    shared = False

    def decide(self, state: PullRequest | None, given: Input, context: Context) -> tuple[Event, ...]:
        """What follows from an input."""
        return rules.decide(state, given, context)

    def advance(self, state: PullRequest, context: Context) -> tuple[Event, ...]:
        """What follows from the state alone."""
        return rules.advance(state, context)

    def evolve(self, state: PullRequest | None, event: Event) -> PullRequest:
        """The state after an event."""
        return evolve(state, event)

    def next_tasks(self, state: PullRequest) -> frozenset[TaskSpec]:
        """What must be due now or at a time."""
        return next_tasks(state)

    def index(self, state: PullRequest) -> EntityIndex:
        """It lives until it is over and nothing is left to be done; found by its source, repository and number."""
        origin = state.origin
        return EntityIndex(
            project=origin.project,
            name=f"{origin.source}-{origin.number}",
            tier="",
            status=phase(state),
            labels={"source": origin.source, "repository": origin.repository, "pr": str(origin.number)},
            live=standing(state) != "over" or bool(next_tasks(state)),
        )

    def encode_state(self, state: PullRequest) -> bytes:
        """The snapshot as JSON."""
        return _encoder.encode(state)

    def decode_state(self, body: bytes, schema_v: int) -> PullRequest:
        """A snapshot of this version; no older one exists."""
        if schema_v == SCHEMA_V:
            return _states.decode(body)
        return msgspec.convert(upcast_state(msgspec.json.decode(body), schema_v, to=SCHEMA_V, steps={}), PullRequest)

    def encode_event(self, event: Event) -> bytes:
        """One event as JSON."""
        return _encoder.encode(event)

    def decode_event(self, body: bytes, schema_v: int) -> Event:
        """An event of this version; no older one exists."""
        if schema_v == SCHEMA_V:
            return _events.decode(body)
        return msgspec.convert(upcast_event(msgspec.json.decode(body), schema_v, to=SCHEMA_V, steps={}), Event)  # type: ignore[no-any-return]


PULL_REQUEST = PullRequestDecider()

"""PULL_REQUEST: the pull request as a Decider."""

from __future__ import annotations

from twin.domain.codec import JsonCodec
from twin.domain.decider import Context, EntityIndex, TaskSpec
from twin.domain.previews import decide as rules
from twin.domain.previews.events import Event
from twin.domain.previews.evolve import evolve
from twin.domain.previews.inputs import Input
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.standing import standing
from twin.domain.previews.tasks import next_tasks
from twin.domain.previews.words import phase

SCHEMA_V = 1


class PullRequestDecider(JsonCodec[PullRequest, Event]):
    """See `twin.domain.decider.Decider`."""

    kind = "pull_request"
    schema_v = SCHEMA_V
    state, event = PullRequest, Event
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
            pull=state.id,
        )


PULL_REQUEST = PullRequestDecider()

"""What is to be done for a pull request: errands to its forge and to its environment, and times to wake at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from twin.domain.decider import AT_ONCE, TaskSpec
from twin.domain.previews.pull_request import SINKS, PullRequest
from twin.domain.previews.standing import deploy_due, idle_at, slot_due, standing, stands, wish
from twin.domain.previews.trouble import Trouble
from twin.domain.previews.words import publication
from twin.domain.timers import TIMERS

LOOK, DEPLOY, SLOT, SEE = "look", "deploy", "slot", "see"
"""Errands: ask the forge; have the environment be as wished; take or free a slot; see how the environment is."""

PUBLISH = "publish:"
"""The errand to tell a sink, whose name follows."""

SECOND, IDLE = "second", "idle"
"""Timers: ask once more before anything is taken away; nobody has done anything for too long."""

CONTENT = "content"
"""The part of a look that has failed for long, while the rest of it was answered: what the commit has in it. No errand,
but a timer or a block; then it is looked again."""

PREVIEWS = "previews"
"""The queue of what is about environments and slots."""

APART = 5.0
"""Seconds between the two answers that it takes to destroy."""


def forge_queue(forge: str) -> str:
    """The queue of what a forge is asked and told."""
    return f"forge/{forge}"


def next_tasks(state: PullRequest) -> frozenset[TaskSpec]:
    """What must be due now or at a time. A preview that stands as it should yields no more than its times."""
    return frozenset(_tasks(state))


def due_timers(state: PullRequest) -> dict[str, datetime]:
    """The times to wake at."""
    times = {}
    leaves = state.leaving_since is not None and standing(state) in ("over", "unwanted")
    if leaves and not state.sure and state.second is None and stands(state):
        assert state.leaving_since is not None
        times[SECOND] = state.leaving_since + timedelta(seconds=APART)
    if (idle := idle_at(state)) is not None:
        times[IDLE] = idle
    unread = state.troubles.get(CONTENT)
    if unread is not None and unread.next_at is not None:
        times[CONTENT] = unread.next_at
    return times


def _tasks(state: PullRequest) -> Iterator[TaskSpec]:
    at_forge = forge_queue(state.origin.forge)
    if state.looked < state.wanted:
        yield from _errand(state, LOOK, at_forge)
    if deploy_due(state):
        wished = wish(state)
        yield from _errand(state, DEPLOY, PREVIEWS, wished.digest if wished is not None else None)
    if slot_due(state):
        yield from _errand(state, SLOT, PREVIEWS)
    if state.seen < state.news:
        yield from _errand(state, SEE, PREVIEWS)
    for sink in SINKS:
        said = publication(state, sink)
        if said is not None and state.published.get(sink) != said.digest:
            yield from _errand(state, PUBLISH + sink, at_forge, said.digest)
    unread = state.troubles.get(CONTENT)
    if unread is not None and unread.block is not None:
        yield TaskSpec("block", unread.block, TIMERS, None)
    for key, at in due_timers(state).items():
        yield TaskSpec("timer", key, TIMERS, at)


def _errand(state: PullRequest, key: str, queue: str, about: str | None = None) -> Iterator[TaskSpec]:
    """The errand, or what it waits for. What failed for good is not tried again until it is about something else; a
    wait that was asked for holds whatever it is about."""
    trouble: Trouble | None = state.troubles.get(key)
    if trouble is None or (trouble.kind in ("terminal", "queued") and trouble.about != about):
        yield TaskSpec("step", key, queue, AT_ONCE)
    elif trouble.kind == "queued":
        yield TaskSpec("step", key, queue, trouble.next_at or AT_ONCE)
        if trouble.block is not None:
            yield TaskSpec("block", trouble.block, TIMERS, None)
    elif trouble.block is not None:
        yield TaskSpec("block", trouble.block, TIMERS, None)
    elif trouble.kind == "transient":
        yield TaskSpec("step", key, queue, trouble.next_at or AT_ONCE)

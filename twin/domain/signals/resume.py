"""resume: bring a suspended environment back, with all that was asked for meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class Resume(Signal, tag="resume", frozen=True, kw_only=True):
    """Succeeds when everything stands as desired."""


def decide(env: Environment, resume: Resume, context: Context) -> Iterator[Event]:
    """Desired: not suspended."""
    desired = replace(env.desired, suspended=False)
    yield from desire(env, desired, signal=resume, context=context, values={"suspended": None})

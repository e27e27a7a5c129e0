"""suspend: stop what costs while nobody uses the environment; data stays."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class Suspend(Signal, tag="suspend", frozen=True, kw_only=True):
    """Later signals are accepted and wait for resume; the TTL goes on."""


def decide(env: Environment, suspend: Suspend, context: Context) -> Iterator[Event]:
    """Desired: suspended."""
    desired = replace(env.desired, suspended=True)
    yield from desire(env, desired, signal=suspend, context=context, values={"suspended": True})

"""protect: no destruction, neither by signal nor by expiry, until unprotected."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class Protect(Signal, tag="protect", frozen=True, kw_only=True):
    """Guards an environment against destruction."""


def decide(env: Environment, protect: Protect, context: Context) -> Iterator[Event]:
    """Desired: protected."""
    yield from desire(env, replace(env.desired, protected=True), signal=protect, context=context)

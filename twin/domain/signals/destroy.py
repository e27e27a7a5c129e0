"""destroy: the wish to be gone, proven gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Departure, Environment
from twin.domain.errors import Rejected
from twin.domain.events import Event
from twin.domain.operations import Gone
from twin.domain.signals.base import Signal


class Destroy(Signal, tag="destroy", frozen=True, kw_only=True):
    """After the tier's `destroy_delay`, in which it can be cancelled. Refused while protected."""


def decide(env: Environment, destroy: Destroy | str, context: Context) -> Iterator[Event]:
    """Desired: a departure. Already departing: the operation joins in."""
    if env.desired.protected and env.desired.departure is None:
        raise Rejected(
            f"{env.project}/{env.name} is protected",
            code="protected",
            mend=f"twin unprotect {env.project}/{env.name}, then destroy it.",
        )
    departure = env.desired.departure or Departure(
        at=context.now + timedelta(seconds=env.desired.destroy_delay), begun=env.desired.destroy_delay == 0
    )
    yield from desire(env, replace(env.desired, departure=departure), signal=destroy, context=context, goal=Gone())

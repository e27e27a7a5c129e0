"""destroy: the wish to be gone, proven gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Departure, Environment
from twin.domain.errors import Rejected
from twin.domain.events import Event, HoldEnded
from twin.domain.operations import Gone
from twin.domain.signals.base import Signal


class Destroy(Signal, tag="destroy", frozen=True, kw_only=True):
    """After the tier's `destroy_delay`, in which it can be cancelled. Refused while protected.

    While a clone copies from it, that is waited for, unless `force`: then the clone's copy fails.
    """

    force: bool = False


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
    if isinstance(destroy, Destroy) and destroy.force:
        for hold in env.holds.values():
            yield HoldEnded(clone=hold.clone, why="the source is destroyed by force")

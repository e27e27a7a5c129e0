"""detect_drift: look at the world now and compare it with what was applied."""

from __future__ import annotations

from collections.abc import Iterator

from twin.domain.decider import Context
from twin.domain.desire import component, desire
from twin.domain.environment import Environment
from twin.domain.events import Event, ObservationWanted
from twin.domain.operations import Observed, OperationAccepted
from twin.domain.signals.base import Signal


class DetectDrift(Signal, tag="detect_drift", frozen=True, kw_only=True):
    """Of one component, or of all. What is found is mended by the plan that follows."""

    component: str | None = None


def decide(env: Environment, detect: DetectDrift, context: Context) -> Iterator[Event]:
    """A wish to observe; the operation lasts until it was done."""
    if detect.component is not None:
        component(env, detect.component)
        names: tuple[str, ...] = (detect.component,)
    else:
        names = tuple(sorted(env.desired.components))
    for event in desire(env, env.desired, signal=detect, context=context, goal=Observed(names), components=names):
        yield event
        if isinstance(event, OperationAccepted):
            yield ObservationWanted(components=names, token=event.operation.id, at=context.now)

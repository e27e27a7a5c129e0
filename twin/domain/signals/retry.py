"""retry: try again what stands still, now."""

from __future__ import annotations

from collections.abc import Iterator

from twin.domain.decider import Context
from twin.domain.desire import component, desire
from twin.domain.environment import Environment
from twin.domain.events import Event, FailuresCleared
from twin.domain.operations import Exists, Goal, Gone, OperationAccepted
from twin.domain.signals.base import Signal
from twin.domain.steps import StepKey


class Retry(Signal, tag="retry", frozen=True, kw_only=True):
    """Of one component, or of all. Attempt counts stay; waits and suppressions end.

    A component whose data are lost is made anew, empty, only by a retry that names it: that is the consent.
    """

    component: str | None = None


def decide(env: Environment, retry: Retry, context: Context) -> Iterator[Event]:
    """Clear the failures; the operation lasts until what failed stands."""
    if retry.component is not None and not any(i.component == retry.component for i in env.instances.values()):
        component(env, retry.component)
    keys = tuple(text for text in env.failures if _meant(env, StepKey.parse(text), retry.component))
    if retry.component is not None:
        names: tuple[str, ...] = (retry.component,)
    else:
        names = tuple(sorted({*env.desired.components, *(i.component for i in env.instances.values())}))
    goal: Goal = Gone() if env.departing else Exists(names)
    for event in desire(env, env.desired, signal=retry, context=context, goal=goal, components=names):
        yield event
        if keys and isinstance(event, OperationAccepted):
            yield FailuresCleared(keys=keys, operation_id=event.operation.id)


def _meant(env: Environment, key: StepKey, component: str | None) -> bool:
    instance = env.instances.get(key.instance)
    return key.component == component if component is not None else instance is None or not instance.lost

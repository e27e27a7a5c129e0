"""abandon: the break-glass for when a place is gone for good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.errors import Invalid, UnknownComponent
from twin.domain.events import Abandoned, Event
from twin.domain.near import near_misses
from twin.domain.operations import FieldsAt, OperationAccepted
from twin.domain.signals.base import Signal


class Abandon(Signal, tag="abandon", frozen=True, kw_only=True):
    """Let go of all that stands of a component without proof that it is gone; the certificate will say so."""

    role: ClassVar[str] = "admin"

    component: str
    reason: str


def decide(env: Environment, abandon: Abandon, context: Context) -> Iterator[Event]:
    """Forget the instances; if the component is still desired, it is made anew under a number never used."""
    stands = tuple(sorted(key for key, i in env.instances.items() if i.component == abandon.component))
    if not stands and env.departing:  # removed, but the place where it stood can give no inventory any more
        owed = env.placements.keys() - env.swept.keys()
        departed = [key for key, i in env.departed.items() if i.placement.target in owed]
        stands = tuple(sorted(key for key in departed if env.departed[key].component == abandon.component))
    if not stands:
        near = near_misses(abandon.component, {i.component for i in env.instances.values()})
        raise UnknownComponent(f"nothing stands of a component {abandon.component!r}", field="component", near=near)
    if not abandon.reason.strip():
        raise Invalid("reason is empty", field="reason", mend="Say why nobody can prove that it is gone.")
    desired = env.desired
    if not env.departing and (wanted := desired.components.get(abandon.component)) is not None:
        anew = replace(wanted, incarnation=env.highest.get(abandon.component, 0) + 1)
        desired = replace(desired, components={**desired.components, abandon.component: anew})
    for event in desire(env, desired, signal=abandon, context=context, goal=FieldsAt({})):
        yield event
        if isinstance(event, OperationAccepted):
            yield Abandoned(
                component=abandon.component,
                instances=stands,
                reason=abandon.reason,
                at=context.now,
                operation_id=event.operation.id,
            )

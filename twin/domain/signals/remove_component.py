"""remove_component: one component less, its data with it."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import complete, component, desire
from twin.domain.environment import Environment
from twin.domain.errors import Rejected
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class RemoveComponent(Signal, tag="remove_component", frozen=True, kw_only=True):
    """Refused while another component refers to it."""

    component: str


def decide(env: Environment, remove: RemoveComponent, context: Context) -> Iterator[Event]:
    """Desired without the component. Naming it is the consent to lose its data."""
    component(env, remove.component)
    users = sorted(name for name, other in env.desired.components.items() if remove.component in other.needs)
    if users:
        raise Rejected(
            f"{remove.component} is needed by {', '.join(users)}",
            field="component",
            mend=f"Remove {' and '.join(users)} first, or update what refers to it.",
        )
    components = {name: kept for name, kept in env.desired.components.items() if name != remove.component}
    desired = complete(env, replace(env.desired, components=components), context.library, allow_data_loss=True)
    yield from desire(env, desired, signal=remove, context=context)

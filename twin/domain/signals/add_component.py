"""add_component: one more component, beside those of the blueprint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import field
from msgspec.structs import replace

from twin.domain.blueprint import ComponentSpec
from twin.domain.decider import Context
from twin.domain.desire import complete, desire, materialise
from twin.domain.environment import Environment
from twin.domain.errors import Rejected
from twin.domain.events import Event
from twin.domain.hosts import with_hosts
from twin.domain.naming import check_component_name
from twin.domain.references import substitute_inputs
from twin.domain.signals.base import Signal


class AddComponent(Signal, tag="add_component", frozen=True, kw_only=True):
    """`inputs` may refer to other components, as in a blueprint."""

    component: str
    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    target: str | None = None
    needs: tuple[str, ...] = ()


def decide(env: Environment, add: AddComponent, context: Context) -> Iterator[Event]:
    """Desired with the component."""
    check_component_name(add.component, "component")
    if add.component in env.desired.components:
        raise Rejected(
            f"{env.project}/{env.name} has a component {add.component!r} already",
            field="component",
            mend="Choose another name, or change that one with scale or update.",
        )
    about = {"id": env.id, "name": env.name, "project": env.project, "tier": env.tier}
    inputs = substitute_inputs(add.inputs, env.desired.inputs, about)
    spec = ComponentSpec(type=add.type, inputs=inputs, target=add.target, needs=add.needs)
    spec = with_hosts(env, {add.component: spec}, context.library)[add.component]
    added = materialise(env, add.component, spec, context.library, env.desired.blueprint.bundle)
    components = {**env.desired.components, add.component: added}
    desired = complete(env, replace(env.desired, components=components), context.library, allow_data_loss=False)
    yield from desire(env, desired, signal=add, context=context)

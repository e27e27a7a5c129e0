"""scale: ask for more or less of one component."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec import field
from msgspec.structs import replace

from twin.domain.component_inputs import validate_inputs
from twin.domain.decider import Context
from twin.domain.desire import complete, component, desire
from twin.domain.environment import Environment
from twin.domain.errors import Invalid, NotFound
from twin.domain.events import Event
from twin.domain.json_schema import check
from twin.domain.near import near_misses
from twin.domain.signals.base import Signal


class Scale(Signal, tag="scale", frozen=True, kw_only=True):
    """`to` holds scalable inputs only, such as {"replicas": 3}; they may also stand beside `component`."""

    folds_into: ClassVar[str | None] = "to"

    component: str
    to: dict[str, int] = field(default_factory=dict)


def decide(env: Environment, scale: Scale, context: Context) -> Iterator[Event]:
    """The component's inputs with other numbers, within the bounds of its type and blueprint."""
    wanted = component(env, scale.component)
    type_ = context.library.type(wanted.type, field="component")
    if not scale.to:
        names = ", ".join(sorted(type_.scalable)) or "nothing"
        raise Invalid("scale says no number", field="to", mend=f"{scale.component} ({type_.name}) scales: {names}.")
    for name in scale.to:
        if name not in type_.scalable:
            raise NotFound(
                f"{name} of {scale.component} ({type_.name}) cannot be scaled; it scales: "
                f"{', '.join(sorted(type_.scalable)) or 'nothing'}",
                field=name,
                near=near_misses(name, type_.scalable),
            )
    _check_blueprint_bounds(env, scale, context)
    inputs = validate_inputs(scale.component, type_, {**wanted.inputs, **scale.to})
    components = {**env.desired.components, scale.component: replace(wanted, inputs=inputs)}
    desired = complete(env, replace(env.desired, components=components), context.library, allow_data_loss=False)
    values = {f"components.{scale.component}.inputs.{name}": value for name, value in scale.to.items()}
    yield from desire(env, desired, signal=scale, context=context, values=values, components=(scale.component,))


def _check_blueprint_bounds(env: Environment, scale: Scale, context: Context) -> None:
    """An input of the blueprint that stands for the number bounds it for every way of setting it."""
    try:
        blueprint, _ = context.library.blueprint(str(env.desired.blueprint))
    except NotFound:
        return
    spec = blueprint.components.get(scale.component)
    for name, value in scale.to.items():
        source = spec.inputs.get(name) if spec is not None else None
        if isinstance(source, str) and source.startswith("${inputs.") and source.endswith("}"):
            schema = blueprint.inputs.get("properties", {}).get(source[len("${inputs.") : -1], {})
            check(value, schema, name, root=blueprint.inputs)

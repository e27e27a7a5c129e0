"""A component's inputs, judged by its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.domain.component_type import ComponentType
from twin.domain.errors import Invalid
from twin.domain.json_schema import check, with_defaults
from twin.domain.references import references


def validate_inputs(component: str, type_: ComponentType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with every default of the type made explicit.

    Component references stay in place; they are allowed where the type allows a text. Raises `OutOfBounds` or
    `Invalid` with `field` such as `components.app.inputs.replicas`, the value, the bound and a mend.
    """
    field = f"components.{component}.inputs"
    try:
        references(inputs)
    except Invalid as problem:
        raise Invalid(f"{field}: {problem.message}", field=field, mend=problem.mend) from None
    for name in sorted(type_.shown & inputs.keys()):
        if secret := next((each for each in references(inputs[name]) if each.kind == "secrets"), None):
            raise Invalid(
                f"{field}.{name} refers to the secret {secret}, and everybody on the machine can see {name}",
                field=f"{field}.{name}",
                mend=f"Give {secret} to the component through its env.",
            )
    complete: dict[str, Any] = with_defaults(inputs, type_.schema)
    check(complete, type_.schema, field)
    return complete

"""Blueprints: versioned templates of components, and what they become for one environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from twin.domain.errors import Invalid
from twin.domain.json_schema import check, with_defaults
from twin.domain.near import suggestion
from twin.domain.references import escape, references, resolve, substitute_inputs

TIERS = ("dev", "staging", "prod", "preview", "sandbox")


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How long transient failures of a component are retried before a human is asked; None = without bound.

    `within` is in seconds since the first failure.
    """

    attempts: int | None = None
    within: float | None = None


class Rotation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an old credential goes once there is a new one.

    `grace`: seconds for which it stays valid for consumers outside of the environment; `acknowledge`: instead, one of
    them has to say that it uses the new one, however long that takes.
    """

    grace: float = 3600.0
    acknowledge: bool = False


class ComponentSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One component as a blueprint describes it.

    `target` None takes the tier's default target. `needs` are dependencies beyond those that references in `inputs`
    make. `observe_every` is in seconds; None leaves it to the component's type. `rotate_every`: seconds from one
    credential to the next, None = when somebody asks. `masking`: files of the bundle, in order, that make a copy of its
    data fit to be seen.
    """

    type: str
    inputs: dict[str, Any] = field(default_factory=dict)
    target: str | None = None
    needs: tuple[str, ...] = ()
    policy: Policy = Policy()
    observe_every: float | None = None
    rotate_every: float | None = None
    rotation: Rotation = Rotation()
    masking: tuple[str, ...] = ()

    @property
    def dependencies(self) -> frozenset[str]:
        """The components that must be applied before this one: `needs` and whatever `inputs` refer to."""
        referred = {each.component for each in references(self.inputs) if each.component is not None}
        return frozenset(referred) | frozenset(self.needs)


class TierSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is different in one tier.

    `ttl` is in seconds, None = lives until destroyed. `protected` environments need confirmation to be destroyed, and
    `destroy_delay` is the time in seconds in which the destruction can be called off. `targets`: component → target.
    """

    ttl: float | None = None
    protected: bool = False
    destroy_delay: float = 0.0
    inputs: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


class Blueprint(Struct, frozen=True, kw_only=True):
    """One version of a template. `inputs` is the JSON Schema (Draft 2020-12) of what an environment may choose."""

    name: str
    version: str
    description: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    components: dict[str, ComponentSpec] = field(default_factory=dict)
    tiers: dict[str, TierSpec] = field(default_factory=dict)

    def tier(self, name: str) -> TierSpec:
        """What is different in the tier; nothing, where the blueprint does not speak of it. Raises `Invalid`."""
        if name not in TIERS:
            raise Invalid(f"tier is {name!r}, which is not a tier", field="tier", mend=suggestion(name, TIERS))
        return self.tiers.get(name, TierSpec())

    @property
    def inputs_schema(self) -> dict[str, Any]:
        """`inputs` as the schema of an object that takes no other keys, unless it says so itself."""
        return {"type": "object", "additionalProperties": False, **self.inputs}


def effective_inputs(blueprint: Blueprint, tier: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all inputs: what is given, over what the tier says, over the schema's defaults.

    The values are data: a `${` in them means nothing. Raises `OutOfBounds` or `Invalid` with `field` such as
    `inputs.replicas`, and `Invalid` for an unknown input or tier.
    """
    schema = blueprint.inputs_schema
    chosen = escape({**blueprint.tier(tier).inputs, **given})
    complete = with_defaults(chosen, schema)
    check(complete, schema, "inputs")
    # Nothing is left to look up: after `escape` there is no reference.
    values: dict[str, Any] = resolve(complete, str)
    return values


def render(
    blueprint: Blueprint, inputs: Mapping[str, Any], tier: str, environment: Mapping[str, str]
) -> dict[str, ComponentSpec]:
    """The components for one environment: inputs and `${env.…}` put in, component references left in place.

    `inputs` are `effective_inputs`; `environment` holds id, name, project and tier. `needs` becomes every dependency,
    `target` what the tier says of the component, or else the component itself. Raises `Invalid` for an input that is
    used and has no value.
    """
    targets = blueprint.tier(tier).targets
    rendered: dict[str, ComponentSpec] = {}
    for name, spec in blueprint.components.items():
        try:
            values = substitute_inputs(spec.inputs, inputs, environment)
        except Invalid as problem:
            path = f"components.{name}.inputs"
            raise Invalid(f"{path}: {problem.message}", field=problem.field or path, mend=problem.mend) from None
        rendered[name] = replace(
            spec, inputs=values, target=targets.get(name, spec.target), needs=tuple(sorted(spec.dependencies))
        )
    return rendered

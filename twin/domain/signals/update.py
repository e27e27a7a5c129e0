"""update: other inputs, another version of the blueprint, other labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.domain.blueprint import Blueprint, ComponentSpec, effective_inputs, render
from twin.domain.component_inputs import validate_inputs
from twin.domain.decider import Context
from twin.domain.desire import complete, component, desire, materialise
from twin.domain.environment import Component, Desired, Environment
from twin.domain.errors import Invalid, Rejected
from twin.domain.events import Event
from twin.domain.hosts import with_hosts
from twin.domain.naming import check_labels
from twin.domain.references import references
from twin.domain.seeding import to_copy
from twin.domain.signals.base import Signal


class Update(Signal, tag="update", frozen=True, kw_only=True):
    """What is not given stays. `inputs` are merged over the present ones; a null input goes back to its default.

    `allow_data_loss` permits to remove or replace a component together with its data. `sources`, of a preview's
    components, are given by the service.
    """

    blueprint: str | None = None
    inputs: dict[str, Any] | None = None
    labels: dict[str, str] | None = None
    allow_data_loss: bool = False
    sources: dict[str, Any] = msgspec.field(default_factory=dict)


def decide(env: Environment, update: Update, context: Context) -> Iterator[Event]:
    """Render anew and merge three ways: what the update does not touch keeps what other signals made of it."""
    if update.blueprint is None and update.inputs is None and update.labels is None and not update.sources:
        raise Invalid("update changes nothing: it names no blueprint, inputs or labels", field="inputs")
    if update.labels is not None:
        check_labels(update.labels)
    was, was_ref = context.library.blueprint(str(env.desired.blueprint))
    now, ref = (was, was_ref) if update.blueprint is None else context.library.blueprint(update.blueprint)
    if now.name != was.name:
        raise Invalid(
            f"blueprint: {env.name} is a {was.name!r} and cannot become a {now.name!r}",
            field="blueprint",
            mend="Create a new environment of that blueprint.",
        )
    chosen = {**_chosen(env, was, env.tier), **(update.inputs or {})}
    inputs = effective_inputs(now, env.tier, {name: value for name, value in chosen.items() if value is not None})
    about = {"id": env.id, "name": env.name, "project": env.project, "tier": env.tier}
    old = with_hosts(env, render(was, env.desired.inputs, env.tier, about), context.library)
    new = with_hosts(env, render(now, inputs, env.tier, about), context.library)
    components: dict[str, Component] = {}
    for name in env.desired.components.keys() | new.keys():
        said = _said(now, name, frozenset(update.inputs or ()))
        if (merged := _merge(env, name, old.get(name), new.get(name), context, ref.bundle, said)) is not None:
            components[name] = merged
    for name, source in update.sources.items():
        wanted = component(env, name)
        type_ = context.library.type(wanted.type, field="component")
        taken = validate_inputs(name, type_, {**components[name].inputs, "source": source})
        components[name] = replace(components[name], inputs=taken)
    _check_masking(env, components, str(ref))
    desired: Desired = replace(
        env.desired,
        blueprint=ref,
        inputs=inputs,
        labels=env.desired.labels if update.labels is None else update.labels,
        components=components,
    )
    desired = complete(env, desired, context.library, allow_data_loss=update.allow_data_loss)
    yield from desire(env, desired, signal=update, context=context)


def _check_masking(env: Environment, components: Mapping[str, Component], blueprint: str) -> None:
    """Raise `Rejected` if what is still to be copied and masked would lose its masking."""
    masked = env.desired.seed is not None and env.desired.seed.mode == "masked"
    for name in to_copy(env) if masked else ():
        if name in components and not components[name].masking:
            raise Rejected(
                f"{blueprint} names nothing that masks {name}, whose data are still to be copied",
                code="no_masking",
                field="blueprint",
                mend=f"Name the scripts there (components.{name}.masking), or wait until all is copied.",
            )


def _chosen(env: Environment, blueprint: Blueprint, tier: str) -> Mapping[str, Any]:
    """The inputs that somebody chose: those at their default follow the default of the new version."""
    defaults = {name: schema.get("default") for name, schema in blueprint.inputs.get("properties", {}).items()}
    defaults |= blueprint.tier(tier).inputs
    return {name: value for name, value in env.desired.inputs.items() if value != defaults.get(name)}


def _said(blueprint: Blueprint, component: str, given: frozenset[str]) -> frozenset[str]:
    """The fields of a component that follow an input given in this very update: it wins over an earlier scale."""
    spec = blueprint.components.get(component)
    return frozenset(
        field
        for field, value in (spec.inputs.items() if spec is not None else ())
        if any(each.kind == "inputs" and each.name in given for each in references(value))
    )


def _merge(
    env: Environment,
    name: str,
    old: ComponentSpec | None,
    new: ComponentSpec | None,
    context: Context,
    bundle: str,
    said: frozenset[str],
) -> Component | None:
    present = env.desired.components.get(name)
    if new is None:
        return None if old is not None else present  # the blueprint dropped it / it was added by a signal
    if old is None or present is None:
        if old is not None:
            return None  # a signal removed it, and the update does not bring it back
        return materialise(env, name, new, context.library, bundle, kept=present)
    wanted = materialise(env, name, new, context.library, bundle, kept=present)
    before = materialise(env, name, old, context.library, bundle, kept=present)
    inputs = dict(present.inputs)
    for field in before.inputs.keys() | wanted.inputs.keys():
        if field not in wanted.inputs:  # another type, which does not know it, be it null
            inputs.pop(field, None)
        elif field in said or before.inputs.get(field) != wanted.inputs[field]:
            inputs[field] = wanted.inputs[field]
    spec = replace(new, inputs=inputs, needs=tuple(sorted(new.needs)))
    target = wanted.target if wanted.target != before.target else present.target
    return replace(materialise(env, name, spec, context.library, bundle, kept=present), target=target)

"""Setting desired: what every signal that wants something else does, in one place.

It validates, materialises all defaults, decides incarnations, and records the operation with its goal and with what a
cancel would put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.domain.blueprint import ComponentSpec
from twin.domain.component_inputs import validate_inputs
from twin.domain.component_type import ComponentType
from twin.domain.decider import Context
from twin.domain.digest import digest
from twin.domain.environment import Component, Desired, Environment, Traits
from twin.domain.errors import Invalid, NotFound, Rejected, UnknownComponent
from twin.domain.events import DesiredChanged, Event
from twin.domain.identity import OperationId
from twin.domain.library import Library
from twin.domain.near import near_misses, suggestion
from twin.domain.operations import FieldsAt, Goal, Operation, OperationAccepted
from twin.domain.paths import component_of, differences
from twin.domain.references import references


def desire(
    env: Environment,
    desired: Desired,
    *,
    signal: Any,
    context: Context,
    goal: Goal | None = None,
    values: Mapping[str, Any] | None = None,
    components: tuple[str, ...] | None = None,
) -> Iterator[Event]:
    """Accept an operation that wants `desired`.

    Its goal is `goal`, or that applied shows what has changed and `values` (asked for, perhaps unchanged).
    """
    before, after = differences(env.desired, desired)
    before, after = ({path: v for path, v in side.items() if path != "departure"} for side in (before, after))
    touched = {component_of(path) for path in after} - {None}
    operation = Operation(
        id=OperationId(context.fresh_id("op")),
        signal=signal_name(signal),
        arguments=arguments(signal),
        goal=goal or FieldsAt({**(values or {}), **after}),
        by=context.cause.actor,
        accepted_at=context.now,
        request_id=context.cause.request_id,
        before=before,
        after=after,
        components=components if components is not None else tuple(sorted(str(name) for name in touched)),
    )
    yield OperationAccepted(operation)
    if desired != env.desired or env.generation == 0:
        yield DesiredChanged(desired=desired, generation=env.generation + 1, operation_id=operation.id)


def signal_name(signal: Any) -> str:
    """The signal's tag, such as `scale`; what timers do is named by the timer."""
    return signal if isinstance(signal, str) else str(type(signal).__struct_config__.tag)


def arguments(signal: Any) -> dict[str, Any]:
    """The signal's fields without its tag, for the history."""
    if isinstance(signal, str):
        return {}
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(signal))
    plain.pop("signal", None)
    return {name: value for name, value in plain.items() if value is not None}


def component(env: Environment, name: str) -> Component:
    """The desired component of that name; raises `UnknownComponent` with the near misses."""
    found = env.desired.components.get(name)
    if found is None:
        known = ", ".join(sorted(env.desired.components)) or "none"
        raise UnknownComponent(
            f"{env.project}/{env.name} has no component {name!r}; it has: {known}",
            field="component",
            near=near_misses(name, env.desired.components),
            mend=suggestion(name, env.desired.components),
        )
    return found


def materialise(
    env: Environment, name: str, spec: ComponentSpec, library: Library, bundle: str, *, kept: Component | None = None
) -> Component:
    """A component with every default of its type and tier made explicit. A target once chosen is `kept`."""
    type_ = library.type(spec.type, field=f"components.{name}.type")
    wanted = spec.target or (kept.target if kept is not None and kept.type == spec.type else None)
    inputs = validate_inputs(name, type_, spec.inputs)
    return Component(
        type=type_.name,
        target=library.place(name, type_, wanted, env.project, env.tier).name,
        inputs=inputs,
        needs=tuple(sorted(spec.dependencies)),
        policy=spec.policy,
        observe_every=spec.observe_every,
        bundle=bundle if type_.bundled else None,
        traits=traits(type_, inputs),
        credential_version=kept.credential_version if kept is not None else 1,
        rotate_every=spec.rotate_every,
        rotation=spec.rotation,
        hurry=kept.hurry if kept is not None else None,
        masking=spec.masking,
    )


def traits(type_: ComponentType, inputs: Mapping[str, Any]) -> Traits:
    """What the planner must know of the type, and of a component of it with these inputs."""
    deadline = inputs.get(type_.deadline_input) if type_.deadline_input is not None else None
    return Traits(
        stateful=type_.stateful,
        suspends=type_.suspends,
        rotates=type_.rotates_with(inputs),
        grants=type_.grants,
        deadline=float(deadline) if isinstance(deadline, int | float) else type_.deadline,
        settle=type_.settle,
    )


def complete(env: Environment, desired: Desired, library: Library, *, allow_data_loss: bool) -> Desired:
    """Desired with identities and incarnations decided, and the whole of it checked.

    A change of what only a new incarnation can have takes a fresh number, or an existing instance that is just so.
    Raises `Invalid` for a reference to nothing and for circles, `Rejected` (data_loss) if data would be lost.
    """
    components = {name: _identified(env, name, wanted, library) for name, wanted in desired.components.items()}
    desired = replace(desired, components=components)
    _check_references(desired, library)
    _check_circles(desired)
    if not allow_data_loss:
        _check_data_loss(env, desired)
    return desired


def _identified(env: Environment, name: str, wanted: Component, library: Library) -> Component:
    before = env.desired.components.get(name)
    if before is not None and _same(before, wanted) and not _leaving(env, name, before.incarnation):
        return before if before == wanted else replace(wanted, identity=before.identity, incarnation=before.incarnation)
    type_ = library.types.get(wanted.type)
    immutable = type_.immutable if type_ is not None else frozenset()
    identity = digest([wanted.type, wanted.target, {field: wanted.inputs.get(field) for field in sorted(immutable)}])
    needs = {each.component for each in references(wanted.inputs) if each.component} | set(wanted.needs)
    wanted = replace(wanted, identity=identity, needs=tuple(sorted(needs)))
    if before is not None and before.identity == identity and not _leaving(env, name, before.incarnation):
        return replace(wanted, incarnation=before.incarnation)
    for instance in env.instances.values():
        if instance.component == name and instance.identity == identity and not instance.removing:
            return replace(wanted, incarnation=instance.incarnation)
    return replace(wanted, incarnation=env.highest.get(name, 0) + 1)


def _same(before: Component, wanted: Component) -> bool:
    """What was not touched keeps its incarnation, whatever a newer version of its type calls immutable."""
    return (before.type, before.target, before.inputs) == (wanted.type, wanted.target, wanted.inputs)


def _leaving(env: Environment, name: str, incarnation: int) -> bool:
    instance = env.instances.get(f"{name}@{incarnation}")
    return instance.removing if instance is not None else incarnation <= env.highest.get(name, 0)


def _check_references(desired: Desired, library: Library) -> None:
    for name, wanted in desired.components.items():
        for need in wanted.needs:
            if need not in desired.components:
                raise Invalid(
                    f"components.{name} needs {need!r}, which is not a component of this environment",
                    field=f"components.{name}",
                    mend=f"Keep {need!r}, or take the reference out of {name!r} in the same update.",
                )
        for reference in references(wanted.inputs):
            needed = desired.components[str(reference.component)]
            source = library.types.get(needed.type)
            offered = () if source is None else source.offered(reference.kind, needed.inputs)
            if source is not None and reference.name not in offered:
                raise NotFound(
                    f"components.{name}: {reference} names nothing; {source.name} gives "
                    f"{reference.kind} {', '.join(offered) or '(none)'}",
                    field=f"components.{name}.inputs",
                    near=near_misses(reference.name, offered),
                )


def _check_circles(desired: Desired) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise Invalid(f"components need each other in a circle: {circle}", field=f"components.{name}")
        if name not in done:
            for need in desired.components[name].needs:
                visit(need, (*path, name))
            done.add(name)

    for name in desired.components:
        visit(name, ())


def _check_data_loss(env: Environment, desired: Desired) -> None:
    for instance in env.instances.values():
        before = env.desired.components.get(instance.component)
        wanted = desired.components.get(instance.component)
        was_current = before is not None and before.incarnation == instance.incarnation
        stays = wanted is not None and wanted.incarnation == instance.incarnation
        if instance.traits.stateful and instance.digest is not None and was_current and not stays:
            how = "removes" if wanted is None else "replaces"
            raise Rejected(
                f"this {how} {instance.component} ({instance.type}) and its data",
                code="data_loss",
                field=f"components.{instance.component}",
                mend="Send it again with allow_data_loss if the data may go.",
            )

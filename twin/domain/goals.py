"""When an operation ends: its goal is reached, no longer wanted, or out of reach. Each ends exactly once."""

from __future__ import annotations

from collections.abc import Iterable

from twin.domain.environment import Environment
from twin.domain.members import next_grant, only_takes
from twin.domain.operations import (
    CredentialAt,
    Exists,
    FieldsAt,
    Gone,
    Observed,
    Operation,
    OperationEnded,
    OperationError,
    Seeded,
)
from twin.domain.paths import component_of, is_component, value_at
from twin.domain.planner import plan
from twin.domain.rotation import live
from twin.domain.steps import Failure, Plan, Step

_PEOPLE = frozenset({"members", "project_members"})
"""The paths of desired that are reached by granting access."""


def endings(env: Environment) -> Iterable[OperationEnded]:
    """The operations that end now, in the order of their acceptance."""
    if not env.operations:
        return
    left = plan(env)
    for operation in env.operations.values():
        if (ended := _ending(env, left, operation)) is not None:
            yield ended


def _ending(env: Environment, left: Plan, operation: Operation) -> OperationEnded | None:
    if _superseded(env, operation):
        newer = _newer(env)
        return OperationEnded(
            operation_id=operation.id,
            outcome="superseded",
            by_operation=newer.id if newer else env.changed_by,
            by=newer.by if newer else None,
        )
    if _reached(env, left, operation):
        return OperationEnded(operation_id=operation.id, outcome="succeeded")
    if (stuck := _out_of_reach(env, left, operation)) is not None:
        step, failure = stuck
        return OperationEnded(
            operation_id=operation.id,
            outcome="failed",
            error=OperationError(
                code="terminal",
                message=failure.message,
                component=step.key.component,
                field=failure.field,
                mend=failure.mend,
            ),
        )
    return None


def _newer(env: Environment) -> Operation | None:
    """The operation to which the others give way: the one that destroys, or the last that changed desired."""
    leaving = [each for each in env.operations.values() if isinstance(each.goal, Gone)] if env.departing else []
    return leaving[0] if leaving else env.operations.get(env.changed_by or "")


def _superseded(env: Environment, operation: Operation) -> bool:
    goal = operation.goal
    if isinstance(goal, Gone):
        return env.desired.departure is None
    if isinstance(goal, FieldsAt) and not goal.values:
        return False  # it wanted nothing to be otherwise, such as abandon
    if env.departing:
        return True
    if isinstance(goal, FieldsAt):
        return any(not _still_wanted(env, path, value) for path, value in goal.values.items())
    if isinstance(goal, CredentialAt):
        wanted = env.desired.components.get(goal.component)
        return wanted is None or wanted.credential_version < goal.version
    return False


def _still_wanted(env: Environment, path: str, value: object) -> bool:
    if path in ("blueprint", "inputs"):
        return True  # what they rendered to is what counts, field by field
    if is_component(path):
        return (value is None) == (component_of(path) not in env.desired.components)
    return bool(value_at(env.desired, path) == value)


def _reached(env: Environment, left: Plan, operation: Operation) -> bool:
    match operation.goal:
        case Gone():
            return env.certificate is not None
        case CredentialAt(component=component, version=version):
            instance = env.current(component)
            issued = live(instance) if instance is not None else ()
            return bool(issued) and all(each.version >= version for each in issued)
        case Exists(components) | Seeded(components):
            return not any(_has_steps(env, left, component) for component in components)
        case Observed(components):
            return all(_looked(env, component) for component in components)
        case FieldsAt(values):
            gives = _gives(operation)
            return all(_shows(env, left, path, gives) for path in values)


def _looked(env: Environment, component: str) -> bool:
    """Whether a component was looked at as it was last wished, or is not there to be looked at any more."""
    instance, look = env.current(component), env.looks.get(component)
    if component not in env.desired.components or look is None:
        return True
    return instance is not None and instance.looked == look.token


def _gives(operation: Operation) -> bool:
    """Whether somebody gets access by an operation. If not, it is reached once what it takes is gone everywhere."""
    changed = _PEOPLE & operation.after.keys()
    return not changed or not all(
        only_takes(operation.before.get(path) or {}, operation.after[path] or {}) for path in changed
    )


def _about_people(env: Environment, step: Step, gives: bool) -> bool:
    """Whether a step is on the way to the people that an operation wants."""
    if step.key.verb != "grant":
        return False
    instance = env.instances.get(step.key.instance)
    grant = next_grant(env, instance) if instance is not None else None
    return gives or (grant is not None and grant.takes and grant.digest == step.key.digest)


def _shows(env: Environment, left: Plan, path: str, gives: bool) -> bool:
    """Whether applied agrees with desired at a path."""
    if path == "suspended":
        suspended = env.desired.suspended
        return not any(step.key.verb == "suspend" or not suspended for step in left.steps if step.key.verb != "observe")
    if path in _PEOPLE:
        return not any(_about_people(env, step, gives) for step in left.steps)
    component = component_of(path)
    if component is None:
        return True
    if component not in env.desired.components:
        return not any(instance.component == component for instance in env.instances.values())
    instance = env.current(component)
    alone = all(
        other.incarnation == env.desired.components[component].incarnation
        for other in env.instances.values()
        if other.component == component
    )
    if instance is None or instance.digest is None or instance.suspended or instance.unsure or not alone:
        return False
    if path.startswith(f"components.{component}.inputs."):
        field = path.removeprefix(f"components.{component}.inputs.")
        return bool(instance.inputs.get(field) == env.desired.components[component].inputs.get(field))
    return not _has_steps(env, left, component)


def _has_steps(env: Environment, left: Plan, component: str) -> bool:
    if env.desired.suspended and component in env.desired.components:
        # What a suspended twin still wants is not in its plan; it waits for resume.
        instance = env.current(component)
        return instance is None or instance.digest is None or instance.suspended
    return any(step.key.component == component and step.key.verb in ("apply", "remove") for step in left.steps)


def _out_of_reach(env: Environment, left: Plan, operation: Operation) -> tuple[Step, Failure] | None:
    """The terminal failure that stands between applied and the goal: of a component it touches, or of a step that
    must come before one of theirs."""
    # What has been replaced is nobody's goal; it may wait for somebody who is none of the operation's.
    by_key = {str(step.key): step for step in left.steps if step.key.verb != "drain"}
    match operation.goal:
        case Gone():
            # Before its time has come, what else is left to do stands in nobody's way; nor do people, who lose their
            # access with the component at the latest.
            todo = [key for key, step in by_key.items() if step.key.verb != "grant"] if env.departing else []
        case CredentialAt(component=component):
            # A consumer that cannot be applied is no end of it: it blocks the retirement, by name.
            by_key = {key: step for key, step in by_key.items() if step.key.component == component}
            todo = [key for key, step in by_key.items() if step.key.verb in ("apply", "issue", "retire")]
        case Exists(components) | Seeded(components) | Observed(components):
            todo = [key for key, step in by_key.items() if step.key.component in components]
        case FieldsAt(values):
            touched = {component_of(path) for path in values}
            everything = "suspended" in values
            people, gives = not _PEOPLE.isdisjoint(values), _gives(operation)
            todo = [
                key
                for key, step in by_key.items()
                if everything or step.key.component in touched or (people and _about_people(env, step, gives))
            ]
    seen: set[str] = set()
    while todo:
        key = todo.pop()
        if key in seen or key not in by_key:
            continue
        seen.add(key)
        failure = env.failures.get(key)
        if failure is not None and failure.kind == "terminal" and key not in env.running:
            return by_key[key], failure
        todo.extend(by_key[key].after)
    return None

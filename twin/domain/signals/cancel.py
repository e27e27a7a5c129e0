"""cancel: take back an operation that has not ended."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import complete, desire
from twin.domain.environment import Departure, Desired, Environment
from twin.domain.errors import Invalid, NotFound, Rejected
from twin.domain.events import Event, StepsCancelled
from twin.domain.identity import OperationId
from twin.domain.operations import CredentialAt, Gone, Operation, OperationAccepted, OperationEnded
from twin.domain.paths import component_of, is_component, value_at, with_values
from twin.domain.rotation import newest
from twin.domain.signals.base import Signal
from twin.domain.steps import StepKey, instance_key


class Cancel(Signal, tag="cancel", frozen=True, kw_only=True):
    """Puts the operation's fields back unless they were changed since. A cancelled create destroys.

    `allow_data_loss` permits it where a component would come back empty.
    """

    operation: str
    allow_data_loss: bool = False


def decide(env: Environment, cancel: Cancel, context: Context) -> Iterator[Event]:
    """End the operation as cancelled and desire what was before it."""
    operation = env.operations.get(cancel.operation)
    if operation is None:
        raise NotFound(
            f"{env.project}/{env.name} has no running operation {cancel.operation!r}",
            field="operation",
            mend="It may have ended: see `twin show`.",
        )
    if env.departing:
        raise Rejected("destruction has begun and cannot be taken back", field="operation")
    if "project_members" in operation.after:
        raise Rejected(
            f"who is a member of project {env.project} is said there, for all of its environments",
            field="operation",
            mend=f"See twin member ls --project {env.project}, and change it there.",
        )
    if operation.signal == "create":
        if env.desired.protected:
            raise Rejected(
                f"{env.project}/{env.name} is protected, and to cancel its creation would destroy it",
                code="protected",
                field="operation",
                mend=f"twin unprotect {env.project}/{env.name}, then cancel.",
            )
        wanted = replace(env.desired, departure=Departure(at=context.now, begun=True))
        accepted = list(desire(env, wanted, signal=cancel, context=context, goal=Gone()))
    elif isinstance(operation.goal, CredentialAt):
        accepted = list(desire(env, _without_rotation(env, operation.goal), signal=cancel, context=context))
    else:
        restored = {
            path: value
            for path, value in operation.before.items()
            if value_at(env.desired, path) == operation.after.get(path) and _has_place(env, path)
        }
        wanted = with_values(env.desired, restored)
        if isinstance(operation.goal, Gone):
            wanted = replace(wanted, departure=None)
        try:
            wanted = complete(env, wanted, context.library, allow_data_loss=True)
        except (Invalid, NotFound) as problem:
            raise Rejected(
                f"{cancel.operation} cannot be taken back any more: {problem.message}",
                field="operation",
                mend="Send an update that says what is wanted now.",
            ) from None
        if not cancel.allow_data_loss:
            _check_data_loss(env, wanted)
        accepted = list(desire(env, wanted, signal=cancel, context=context))
    by = next(event.operation.id for event in accepted if isinstance(event, OperationAccepted))
    yield OperationEnded(operation_id=operation.id, outcome="cancelled", by_operation=by, by=context.cause.actor)
    yield from accepted
    yield from _stop_running(env, operation, by)


def _without_rotation(env: Environment, goal: CredentialAt) -> Desired:
    """A version is taken back only as long as nobody can have seen it."""
    wanted, instance = env.desired.components.get(goal.component), env.current(goal.component)
    if wanted is None:
        return env.desired
    issued = newest(instance) if instance is not None else 0
    issuing = any(run.key.verb == "issue" and run.key.component == goal.component for run in env.running.values())
    begun = [StepKey.parse(key) for key in (*env.attempts, *env.deaths)]
    tried = any(key.verb == "issue" and key.component == goal.component for key in begun)
    if issued >= goal.version or issuing or tried:
        raise Rejected(
            f"credential {goal.version} of {goal.component} is issued already, or about to be",
            field="operation",
            mend="Let the rotation come to its end: the old credential is retired once nobody uses it.",
        )
    back = replace(wanted, credential_version=min(wanted.credential_version, max(issued, 1)))
    return replace(env.desired, components={**env.desired.components, goal.component: back})


def _check_data_loss(env: Environment, wanted: Desired) -> None:
    """To go back to what still stands loses nothing that was there before. Where that is gone or going, what is put
    back would be new and empty, and the replacement with its data would go."""
    for name, component in wanted.components.items():
        stands = any(i.component == name and i.traits.stateful and i.digest is not None for i in env.instances.values())
        if stands and instance_key(name, component.incarnation) not in env.instances:
            raise Rejected(
                f"{name} cannot be put back with its data: its removal has begun, and a new one would be empty",
                code="data_loss",
                field="operation",
                mend="Let the operation come to its end, or cancel with allow_data_loss if the data may go.",
            )


def _has_place(env: Environment, path: str) -> bool:
    """A field of a component that is gone cannot be put back."""
    return is_component(path) or component_of(path) is None or component_of(path) in env.desired.components


def _stop_running(env: Environment, operation: Operation, by: OperationId) -> Iterator[Event]:
    keys = tuple(
        running.key
        for running in env.running.values()
        if running.key.verb == "apply" and running.key.component in operation.components
    )
    if keys:
        yield StepsCancelled(keys=keys, operation_id=by)

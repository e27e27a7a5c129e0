"""cancel: take back an operation that has not ended."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import complete, desire
from twin.domain.environment import Departure, Environment
from twin.domain.errors import Invalid, NotFound, Rejected
from twin.domain.events import Event, StepsCancelled
from twin.domain.identity import OperationId
from twin.domain.operations import Gone, Operation, OperationAccepted, OperationEnded
from twin.domain.paths import component_of, is_component, value_at, with_values
from twin.domain.signals.base import Signal


class Cancel(Signal, tag="cancel", frozen=True, kw_only=True):
    """Puts the operation's fields back unless they were changed since. A cancelled create destroys."""

    operation: str


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
        accepted = list(desire(env, wanted, signal=cancel, context=context))
    by = next(event.operation.id for event in accepted if isinstance(event, OperationAccepted))
    yield OperationEnded(operation_id=operation.id, outcome="cancelled", by_operation=by, by=context.cause.actor)
    yield from accepted
    yield from _stop_running(env, operation, by)


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

"""acknowledge_credential: a consumer outside of the environment uses the new one."""

from __future__ import annotations

from collections.abc import Iterator

from twin.domain.decider import Context
from twin.domain.desire import component, desire
from twin.domain.environment import Environment
from twin.domain.errors import NotFound
from twin.domain.events import CredentialAcknowledged, Event
from twin.domain.operations import FieldsAt, OperationAccepted
from twin.domain.rotation import live
from twin.domain.signals.base import Signal


class AcknowledgeCredential(Signal, tag="acknowledge_credential", frozen=True, kw_only=True):
    """`version` is in use, so that the one before it need not stay for those outside."""

    component: str
    version: int


def decide(env: Environment, given: AcknowledgeCredential, context: Context) -> Iterator[Event]:
    """Noted on the credential; what else holds the old one still does."""
    component(env, given.component)
    instance = env.current(given.component)
    known = [each.version for each in live(instance)] if instance is not None else []
    if given.version not in known:
        raise NotFound(
            f"{given.component} has no credential {given.version}; it has: {', '.join(map(str, known)) or 'none'}",
            field="version",
            mend=f"See what there is: twin credentials {env.project}/{env.name}",
        )
    names = (given.component,)
    for event in desire(env, env.desired, signal=given, context=context, goal=FieldsAt({}), components=names):
        yield event
        if isinstance(event, OperationAccepted):
            yield CredentialAcknowledged(
                component=given.component,
                version=given.version,
                by=context.cause.actor,
                operation_id=event.operation.id,
            )

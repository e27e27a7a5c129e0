"""What accepting any signal has in common: keys, names, versions, and what the caller is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from twin.domain.digest import digest
from twin.domain.errors import Conflict, Invalid, NotFound, PreconditionFailed
from twin.domain.library import Library
from twin.domain.operations import OperationAccepted, OperationEnded
from twin.domain.project import PROJECT, Project, project_id
from twin.domain.quotas import Quotas, admit
from twin.domain.signals.base import Signal
from twin.domain.signals.clone import Clone, creation
from twin.domain.signals.create import Create
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import IdempotentReply, OperationRow, Transition, Tx
from twin.service.principals import Request
from twin.service.rendering import operation_row_view
from twin.service.views import Accepted

KIND = ENVIRONMENT.kind
KEPT = timedelta(hours=24)
"""How long an Idempotency-Key stands for its operation."""


def no_operation(operation_id: str) -> NotFound:
    """There is none, or none that this principal may see."""
    return NotFound(f"there is no operation {operation_id!r}", field="operation")


def told(done: Transition) -> Accepted:
    """What the caller learns of the transition that accepted the signal: all of it is known before it is read again."""
    operation = next(r.event.operation for r in done.events if isinstance(r.event, OperationAccepted))
    ended = next((r for r in done.events if _ends(r.event, operation.id)), None)
    end = None if ended is None else ended.event
    row = OperationRow(
        entity=done.entity,
        project=done.after.project,
        body=operation,
        outcome=None if end is None else end.outcome,
        end=end,
        ended_at=None if ended is None else ended.at,
    )
    return Accepted(
        operation=operation_row_view(row),
        environment_id=done.entity,
        project=done.after.project,
        name=done.after.name,
        replayed=False,
    )


def _ends(event: Any, operation_id: str) -> bool:
    return isinstance(event, OperationEnded) and event.operation_id == operation_id


def body_of(signal: Signal, environment_id: str = "") -> str:
    """Names a request: what it is sent to and all that it says."""
    plain: Any = msgspec.json.decode(msgspec.json.encode(signal))
    return digest([environment_id, plain])


def known_reply(tx: Tx, request: Request, body: str) -> IdempotentReply | None:
    """What the Idempotency-Key stands for; another body under the same key is refused."""
    if request.idempotency_key is None:
        return None
    known = tx.idempotent(request.by.name, request.idempotency_key)
    if known is not None and known.digest != body:
        raise Invalid(
            f"Idempotency-Key {request.idempotency_key!r} was used for another request",
            field="Idempotency-Key",
            code="idempotency_key_reused",
            mend="Use a fresh key for every request that is not a repetition.",
        )
    return known


def remember(tx: Tx, request: Request, body: str, entity: str, operation: str) -> None:
    """Keep what the Idempotency-Key stands for."""
    if request.idempotency_key is not None:
        reply = IdempotentReply(digest=body, operation_id=operation, entity=entity, expires_at=tx.now + KEPT)
        tx.remember(request.by.name, request.idempotency_key, reply)


def check_room(tx: Tx, create: Create) -> None:
    """Raise `Conflict` if a living environment has the name, `QuotaReached` if the project has as many as it may."""
    if tx.find(KIND, create.project, create.name) is not None:
        raise Conflict(
            f"project {create.project!r} has an environment {create.name!r} already",
            field="name",
            mend=f"Choose another name, or destroy it first: twin destroy {create.project}/{create.name}",
        )
    project: Project | None = tx.shared(PROJECT.kind, project_id(create.project))
    if project is not None and project.quotas != Quotas():
        admit(project.quotas, create.project, create.tier, tx.living(KIND, create.project))


def with_members(tx: Tx, create: Create) -> Create:
    """With the members that the project gives to all of its environments: none of them changes before this one is
    there to be told."""
    project: Project | None = tx.shared(PROJECT.kind, project_id(create.project))
    return create if project is None else replace(create, project_members=project.members)


def creation_of(tx: Tx, source: str, clone: Clone, offered: Library) -> Create:
    """What creates the clone of an environment as it is now; the source is locked with that."""
    return with_members(tx, creation(tx.state(KIND, source), clone, tx.version(KIND, source), offered))


def check_version(tx: Tx, entity: str, if_match: int | None) -> None:
    """Raise `PreconditionFailed` unless the twin is still at that version."""
    if if_match is not None and (version := tx.version(KIND, entity)) != if_match:
        raise PreconditionFailed(
            f"If-Match names version {if_match}; the twin is at {version}",
            field="If-Match",
            mend="Get it again, look at what has changed, and decide anew.",
        )

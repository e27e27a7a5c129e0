"""Operations: the progress of one accepted signal towards its goal. Each ends exactly once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from twin.domain.identity import Actor, OperationId

Outcome = Literal["succeeded", "superseded", "failed", "cancelled"]


class FieldsAt(Struct, frozen=True, tag="fields_at"):
    """Applied shows these values. Keys are paths in desired, such as `components.app.inputs.replicas`."""

    values: dict[str, Any]


class Exists(Struct, frozen=True, tag="exists"):
    """These components, as far as they are still desired, are applied as desired."""

    components: tuple[str, ...]


class Observed(Struct, frozen=True, tag="observed"):
    """These components were looked at since the signal."""

    components: tuple[str, ...]


class CredentialAt(Struct, frozen=True, tag="credential_at"):
    """The component has this credential, or a later one, and none before it is valid any more."""

    component: str
    version: int


class Seeded(Struct, frozen=True, tag="seeded"):
    """The clone has copied what it should, and these components are applied as desired."""

    components: tuple[str, ...]


class Gone(Struct, frozen=True, tag="gone"):
    """Nothing of the environment is left and the certificate says so."""


Goal = FieldsAt | Exists | Observed | CredentialAt | Seeded | Gone


class OperationError(Struct, frozen=True):
    """Why an operation failed, for a person."""

    code: str
    message: str
    component: str | None = None
    field: str | None = None
    mend: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """One accepted signal on its way. `before` holds the values that a cancel puts back."""

    id: OperationId
    signal: str
    arguments: dict[str, Any]
    goal: Goal
    by: Actor
    accepted_at: datetime
    request_id: str | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    components: tuple[str, ...] = ()


class OperationAccepted(Struct, frozen=True, tag="operation_accepted", tag_field="type"):
    """Event: a signal was accepted. Stores keep a row per operation from this and `OperationEnded`."""

    operation: Operation


class OperationEnded(Struct, frozen=True, tag="operation_ended", tag_field="type"):
    """Event: an operation ended. `by_operation` and `by` name what superseded or cancelled it."""

    operation_id: OperationId
    outcome: Outcome
    error: OperationError | None = None
    by_operation: OperationId | None = None
    by: Actor | None = None


class BlockRaised(Struct, frozen=True, tag="block_raised", tag_field="type"):
    """Event: a step waits for a human. Stores keep one row per `key`, shared by all twins that it stops."""

    key: str
    owner: str
    mend: str
    message: str
    component: str | None = None

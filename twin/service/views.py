"""What people see of a twin: plain data, the same for every edge."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from twin.domain.environment import Certificate, Role
from twin.domain.identity import Actor
from twin.domain.operations import OperationError
from twin.ports.provider import Change


class PreviewError(Struct, frozen=True, kw_only=True):
    """Why it cannot be told what an apply would change. transient: ask again; blocked: a human has to mend it
    first, and the apply would wait for that, too; terminal: the apply could not succeed as asked."""

    kind: Literal["transient", "blocked", "terminal"]
    message: str
    field: str | None = None
    mend: str | None = None


class PreviewView(Struct, frozen=True, kw_only=True):
    """What an apply would change in the world, resource by resource, or why that cannot be told. Values that are there
    only later are `(known after apply)`."""

    changes: tuple[Change, ...] = ()
    error: PreviewError | None = None


class StepView(Struct, frozen=True, kw_only=True):
    """A step of a plan. `state` says why it does not run now, if it does not; `progress` is what a running one said
    last of how far it is; `preview`, of a dry run that asks for it, what an apply would change."""

    key: str
    component: str
    verb: str
    target: str
    why: str
    state: Literal["running", "ready", "waiting", "retrying", "blocked", "failed"]
    after: tuple[str, ...] = ()
    attempt: int = 0
    started_at: datetime | None = None
    not_before: datetime | None = None
    waits_for: str = ""
    progress: str = ""
    preview: PreviewView | None = None


class PlanView(Struct, frozen=True, kw_only=True):
    """What is left to do, or, of a dry run, would be. `digest` is for `expect_plan`. `follows`, of a dry run: what
    comes once that is done."""

    digest: str
    steps: tuple[StepView, ...] = ()
    follows: tuple[StepView, ...] = ()
    operation: str | None = None


class Condition(Struct, frozen=True, kw_only=True):
    """Something that does not go well. stalled: transient for more than 30 minutes."""

    kind: Literal["retrying", "stalled", "blocked", "failed"]
    component: str
    verb: str
    message: str
    attempt: int
    since: datetime
    next_at: datetime | None = None
    block: str | None = None
    owner: str | None = None
    field: str | None = None
    mend: str | None = None


class ComponentView(Struct, frozen=True, kw_only=True):
    """One component, desired beside applied. Inputs show references, never what secrets they stand for."""

    name: str
    type: str
    target: str
    incarnation: int
    state: Literal["absent", "applying", "applied", "changing", "drifted", "suspended", "removing", "failed", "blocked"]
    inputs: dict[str, Any]
    applied: dict[str, Any] | None = None
    external_id: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    drift: dict[str, str] = field(default_factory=dict)
    applied_at: datetime | None = None


class OperationView(Struct, frozen=True, kw_only=True):
    """The progress of one accepted signal."""

    id: str
    environment: str
    signal: str
    arguments: dict[str, Any]
    status: Literal["running", "succeeded", "superseded", "failed", "cancelled"]
    by: Actor
    accepted_at: datetime
    request_id: str | None = None
    ended_at: datetime | None = None
    error: OperationError | None = None
    ended_by: str | None = None


class EnvironmentView(Struct, frozen=True, kw_only=True):
    """An environment as people see it. `version` is its ETag; `summary` one line that says how it is and, if a human
    must act, who and with which command."""

    id: str
    project: str
    name: str
    tier: str
    status: str
    summary: str
    version: int
    blueprint: str
    inputs: dict[str, Any]
    labels: dict[str, str]
    generation: int
    components: tuple[ComponentView, ...]
    plan: PlanView
    conditions: tuple[Condition, ...]
    operations: tuple[OperationView, ...]
    created_at: datetime
    created_by: Actor
    url: str | None = None
    protected: bool = False
    suspended: bool = False
    expires_at: datetime | None = None
    destroy_at: datetime | None = None
    leftovers: tuple[str, ...] = ()
    certificate: Certificate | None = None


class EnvironmentSummary(Struct, frozen=True, kw_only=True):
    """One line of a list."""

    id: str
    project: str
    name: str
    tier: str
    status: str
    summary: str
    blueprint: str
    labels: dict[str, str]
    created_at: datetime
    updated_at: datetime
    url: str | None = None
    expires_at: datetime | None = None


class EventView(Struct, frozen=True, kw_only=True):
    """One event of the audit history: who, what, when, on what, why. `pull`: the pull request for whose sake."""

    id: str
    environment: str
    project: str
    name: str
    tier: str
    seq: int
    at: datetime
    actor: Actor
    type: str
    summary: str
    request_id: str | None = None
    operation_id: str | None = None
    component: str | None = None
    pull: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class ProgressView(Struct, frozen=True, kw_only=True):
    """What the running steps of an environment said last of how far they are, by their keys. Kept nowhere: it is no
    event, and is gone with the attempt."""

    progress: dict[str, str]


class Explanation(Struct, frozen=True, kw_only=True):
    """From a resource back to who wanted it: the last attempt that touched it, its operations, their signals."""

    environment: str
    component: str
    incarnation: int
    external_id: str
    last_step: EventView | None
    operations: tuple[OperationView, ...]
    events: tuple[EventView, ...]
    summary: str


class Accepted(Struct, frozen=True, kw_only=True):
    """A signal was accepted: this is its operation. `replayed`: the Idempotency-Key had been used for it before."""

    operation: OperationView
    environment_id: str
    project: str
    name: str
    replayed: bool = False


class BlockView(Struct, frozen=True, kw_only=True):
    """A reason to wait for a human and the environments it stops."""

    key: str
    owner: str
    message: str
    mend: str
    raised_at: datetime
    waiting: int
    environments: tuple[str, ...]
    resolved_at: datetime | None = None
    resolved_by: Actor | None = None


class PageView(Struct, frozen=True, kw_only=True):
    """One page of a list; `next` is the cursor of the following one."""

    items: tuple[Any, ...]
    next: str | None = None


class BlueprintView(Struct, frozen=True, kw_only=True):
    """A published version. `inputs` is the JSON Schema of what an environment may choose."""

    name: str
    version: str
    description: str
    bundle: str
    published_at: datetime
    published_by: Actor
    inputs: dict[str, Any]
    components: dict[str, str]
    document: dict[str, Any]


class TargetView(Struct, frozen=True, kw_only=True):
    """A target without its credentials; `credentials` are the names of those that are set."""

    name: str
    provider: str
    config: dict[str, Any]
    credentials: tuple[str, ...]
    projects: tuple[str, ...]
    tiers: tuple[str, ...]
    default: bool
    concurrency: int
    rate: int


class TokenView(Struct, frozen=True, kw_only=True):
    """A token without what it is known by. `roles` are pairs of a project (`*` for all) and a role."""

    name: str
    roles: tuple[Annotated[tuple[str, ...], Meta(min_length=2, max_length=2)], ...]
    created_at: datetime
    expires_at: datetime | None = None


class LeftoverView(Struct, frozen=True, kw_only=True):
    """What an inventory still found, and who can remove it. `removal` is the command or the action that does; `mend`
    the same with how it goes on then."""

    target: str
    kind: str
    external_id: str
    owner: str
    mend: str
    detail: str = ""
    removal: str = ""


class DestructionView(Struct, frozen=True, kw_only=True):
    """The proof of an environment's destruction, or what still stands in its way."""

    environment: str
    project: str
    name: str
    status: str
    certificate: Certificate | None = None
    leftovers: tuple[LeftoverView, ...] = ()


class CredentialView(Struct, frozen=True, kw_only=True):
    """A credential of a component, without its secrets.

    `state`: `issuing` is not valid yet, `current` is what consumers are to use, `retiring` is the one before it, valid
    until `retires_at` at the least; `retired` ended at `retired_at`, and nothing takes it any more. `used_by`: the
    components that hold it; `waits_for` tells what else keeps it.
    """

    component: str
    version: int
    state: Literal["issuing", "current", "retiring", "retired"]
    issued_at: datetime | None = None
    superseded_at: datetime | None = None
    retires_at: datetime | None = None
    retired_at: datetime | None = None
    used_by: tuple[str, ...] = ()
    waits_for: str = ""
    acknowledged_by: Actor | None = None
    next_rotation: datetime | None = None


class Credentials(Struct, frozen=True, kw_only=True):
    """The revealed secrets of an environment, as its app sees them: `variables` by name. Revealing is recorded."""

    environment: str
    component: str
    variables: dict[str, str]


class MemberView(Struct, frozen=True, kw_only=True):
    """A person's place in a project: with which role, and until when if not until removed."""

    name: str
    role: Role
    until: datetime | None = None


Access = Literal["granted", "pending", "suspended", "being taken away"]


class EnvironmentMemberView(Struct, frozen=True, kw_only=True):
    """A person's place in an environment. `of`: whose member it makes them; `nobody`: they are a member no longer, and
    not everything has been taken from them yet. `access`: by component that can give people access of their own,
    whether it has; `waits`: by component, why it is not as it should be."""

    name: str
    role: Role
    of: Literal["environment", "project", "nobody"]
    until: datetime | None = None
    access: dict[str, Access] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)


class PersonalCredentials(Struct, frozen=True, kw_only=True):
    """One person's own credentials in an environment: `variables` by name. Revealing is recorded.

    `pending`: the components where the person has no access yet.
    """

    environment: str
    person: str
    role: Role
    variables: dict[str, str]
    pending: tuple[str, ...] = ()

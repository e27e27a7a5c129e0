"""What a provider does: the port to the world's infrastructure.

The engine makes one provider per target and calls it outside of any transaction. Every method may be called again
after a crash at any point, and by two workers at once (a zombie and its successor): all must be idempotent by
`ref.name`. Errors are `Transient`, `Blocked` or `Terminal` (`twin.domain.errors`), mapped at one edge, the provider's
`errors.py`; whatever else is raised counts as a program error and is Terminal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from twin.domain.component_type import ComponentType
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.domain.targets import Target


class Applied(Struct, frozen=True, kw_only=True):
    """What `apply` achieved. `outputs` are public; `secrets` go to the vault and nowhere else. `lingers`: what it has
    replaced still serves, for those that use it (`StepContext.used`) have not heard of it: `drain` is called for it."""

    external_id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    lingers: bool = False


class Observed(Struct, frozen=True, kw_only=True):
    """What stands in the world now. `drift` says, per field, how it differs from `inputs` as last applied: a sentence
    for a person. Empty = as applied."""

    external_id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, str] = field(default_factory=dict)


class Resource(Struct, frozen=True, kw_only=True):
    """One thing in the world that carries an environment's mark, as the inventory before a certificate lists it.

    `removal` is the command or the action by which a person removes it there, quoted as its shell needs it and without
    secrets."""

    kind: str
    external_id: str
    detail: str = ""
    removal: str = ""


class LogLine(Struct, frozen=True, kw_only=True):
    """One line that a component wrote; `source` tells replicas apart."""

    source: str
    text: str
    at: datetime | None = None


class StepContext(Struct, frozen=True, kw_only=True):
    """All that one attempt of a step may use.

    `inputs` are the component's inputs with every reference resolved: they may hold secrets and must not be logged.
    `granted` are the secrets of other components that stand in them, to be told from what is public.
    `secrets` are the minted and issued ones of this component. `credentials`, of a type that rotates, are the secrets
    of every live credential by its version; `secrets` are then those of the newest. `idempotency_key` is the same for
    every attempt of the same step. `heartbeat` reports progress and raises `asyncio.CancelledError` when the step is no
    longer wanted. `bundle` is the digest of the blueprint's bundle and `read_bundle` gives its bytes (a tar.gz);
    `used`: other components use this one.
    """

    inputs: Mapping[str, Any]
    secrets: Mapping[str, str]
    idempotency_key: str
    attempt: int
    deadline: datetime
    heartbeat: Callable[[str], Awaitable[None]]
    log: FilteringBoundLogger
    bundle: str | None = None
    read_bundle: Callable[[], Awaitable[bytes]] | None = None
    credentials: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()
    used: bool = False

    @property
    def live(self) -> Mapping[int, Mapping[str, str]]:
        """The live credentials, oldest first: one, or two while a rotation goes on."""
        return dict(sorted(self.credentials.items())) if self.credentials else {1: self.secrets}

    @property
    def version(self) -> int:
        """The newest credential's version."""
        return max(self.live)


class Member(Struct, frozen=True, kw_only=True):
    """A person with access of their own. `secrets` holds the minted `password`; `role` is the person's in the project
    or environment: viewers read, developers read and write, operators and admins may do what the owner may."""

    name: str
    role: Literal["viewer", "developer", "operator", "admin"]
    secrets: Mapping[str, str]


class Source(Struct, frozen=True, kw_only=True):
    """What a component is to be a copy of.

    `provider` is the source's target, opened (a provider of the same kind, perhaps of another server), `inputs` those
    it was last applied with. `suspended`: nobody can be connected to it. `masking`: the bundle's scripts, in order,
    by file name, to be run on the copy before anybody may see it (mode `masked`, else empty).
    """

    ref: ComponentRef
    provider: Provider
    inputs: Mapping[str, Any]
    mode: Literal["schema", "full", "masked"]
    suspended: bool = False
    masking: Mapping[str, bytes] = field(default_factory=dict)


class Seeded(Struct, frozen=True, kw_only=True):
    """A finished copy. `point` is what the source's server calls the moment that it shows (a snapshot, a log position,
    a sequence number); `rows` counts what people count there (rows, keys, messages)."""

    rows: int
    bytes: int
    point: str = ""


UNKNOWN = "(known after apply)"
"""In a preview, what stands in a step's inputs and secrets for a value that is not there yet."""


class Change(Struct, frozen=True, kw_only=True):
    """What an apply would do to one resource; `fields` says per property what would change, secrets hidden."""

    resource: str
    kind: Literal["create", "update", "replace", "delete"]
    fields: dict[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One target, ready to be worked on."""

    async def identify(self) -> Placement:
        """Where this is: endpoint, and the identity that the server itself reports."""
        ...

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """What stands in the world under `ref.name`, compared with `inputs`; None if nothing. Reads only."""
        ...

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Create or update to `step.inputs`, also from suspended; converges from any half-done state. Lets in nobody
        who has access of their own and was shut out: it does not know who is a member by now, `grant` does."""
        ...

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Remove it wholly; already absent is success."""
        ...

    def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Everything here that carries the environment's mark, found in the world and not in our records."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@runtime_checkable
class Suspends(Protocol):
    """Can stop a component's cost and keep its data; `apply` brings it back."""

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop it; already stopped is success."""
        ...


@runtime_checkable
class Drains(Protocol):
    """Can leave what an update has replaced serving beside what replaces it, for no request to be lost."""

    async def drain(self, ref: ComponentRef, step: StepContext) -> None:
        """End what the last `apply` has replaced, letting it finish; nothing left of it is success. It is called once
        all that use the component have been applied with its new outputs."""
        ...


@runtime_checkable
class RotatesCredentials(Protocol):
    """Can have two credentials of a component valid side by side. Never three live, never none.

    `apply` makes every credential of `step.live` valid and ends no other, so that a late one harms nothing.
    """

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Make the newest of `step.live` valid beside the others; valid already is success. Gives what `apply` gives,
        with the newest's secrets."""
        ...

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """End one credential (`secrets` are its own; `step.live` are those that stay) and its open sessions; ended
        already is success. Returns only once the server itself has refused it."""
        ...


@runtime_checkable
class GrantsAccess(Protocol):
    """Can give people access of their own to a component."""

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """Make personal access exactly that of `members`: who is not named (any more) loses it, and their open sessions
        end. Gives each member's secrets by name, such as `url`; `remove` ends all access.

        Also for a component that is suspended, half applied or about to go: what is taken away is taken for good, by
        ending others before anything is given, and nobody enters before it is resumed and `grant` is called again."""
        ...


@runtime_checkable
class CopiesData(Protocol):
    """Can make a component a copy of another's data."""

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """Copy, before the component's first `apply`, from one consistent snapshot while the source serves on.

        What is not finished stands where nobody but the twin may enter and has no completion mark; without the mark
        it is removed and made anew, with it, it is done and is not copied again. Opening it to its users is the work
        of `apply`. Reports rows and bytes by `step.heartbeat`. `remove` clears every stage of it.
        """
        ...


@runtime_checkable
class PreviewsChanges(Protocol):
    """Can tell what an apply would do, resource by resource."""

    async def preview(self, ref: ComponentRef, step: StepContext) -> tuple[Change, ...]:
        """What `apply` with this step would change in the world; changes nothing itself. Nothing to change: empty. The
        environment may be one that nobody has asked for yet. What is not known yet is UNKNOWN."""
        ...


@runtime_checkable
class ReadsLogs(Protocol):
    """Can show what a component wrote."""

    def logs(self, ref: ComponentRef, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """The last `lines` lines, oldest first, then, with `follow`, each new one."""
        ...


class ProviderKind(Protocol):
    """A provider before it has a target: what it is called, what it offers, how to open it."""

    name: str
    types: tuple[ComponentType, ...]

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field, if the target's config or credentials cannot be right. No I/O."""
        ...

    def open(self, target: Target, credentials: Mapping[str, str]) -> Provider:
        """A provider for this target. Connects lazily."""
        ...

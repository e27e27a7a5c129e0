"""The port to durable state: transitions of entities, and the rows around them.

`transact(fn)` runs `fn(tx)` in one short transaction. `fn` is synchronous, does no I/O but through `tx`, and may be run
again (after a serialisation failure or with another batch); its result counts only once the call has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field

from twin.domain.decider import Cause, TaskSpec
from twin.domain.identity import Actor
from twin.domain.targets import Target

T = TypeVar("T")


class Recorded(Struct, frozen=True, kw_only=True):
    """An event as it stands in the log. `event` is the decider's event; `body` its stored JSON. `pull`: the pull
    request, by its entity, for whose sake it happened."""

    entity: str
    seq: int
    at: datetime
    actor: Actor
    request_id: str | None
    type: str
    event: Any
    body: bytes
    project: str
    name: str
    tier: str
    operation_id: str | None = None
    component: str | None = None
    pull: str | None = None
    cursor: str = ""


class Transition(Struct, frozen=True, kw_only=True):
    """What one input did to an entity."""

    entity: str
    before: Any
    after: Any
    events: tuple[Recorded, ...]
    tasks: tuple[TaskSpec, ...]


class StoredBlueprint(Struct, frozen=True, kw_only=True):
    """A published version. `document` is the blueprint as JSON, `bundle` the digest of its folder."""

    name: str
    version: str
    document: bytes
    bundle: str
    published_at: datetime
    published_by: Actor


class IdempotentReply(Struct, frozen=True, kw_only=True):
    """What a principal's Idempotency-Key stands for."""

    digest: str
    operation_id: str
    entity: str
    expires_at: datetime


class StoredToken(Struct, frozen=True, kw_only=True):
    """A token's hash and what it may do. `roles`: pairs (project or "*", role)."""

    hash: str
    name: str
    roles: tuple[tuple[str, str], ...]
    created_at: datetime
    expires_at: datetime | None = None


class StoredSecret(Struct, frozen=True, kw_only=True):
    """A ciphertext and its place."""

    entity: str
    component: str
    version: int
    name: str
    sealed: bytes


class StoredBlock(Struct, frozen=True, kw_only=True):
    """A reason to wait for a human; `waiting` counts the twins that it stops now."""

    key: str
    owner: str
    mend: str
    message: str
    raised_at: datetime
    resolved_at: datetime | None = None
    resolved_by: Actor | None = None
    waiting: int = 0
    entities: tuple[str, ...] = ()


class StoredDelivery(Struct, frozen=True, kw_only=True):
    """What a forge's webhook has sent. `id` is the forge's, `number` counts those of the target. `headers` are those
    that matter, by their names in lower case; `body` is as it came, packed by who keeps it, None once it is dropped."""

    target: str
    id: str
    number: int
    event: str
    headers: dict[str, str]
    body: bytes | None
    taken_at: datetime
    handled_at: datetime | None = None


class Claimed(Struct, frozen=True, kw_only=True):
    """A task leased to a worker. `epoch` fences: only a result with the task's present epoch is valid."""

    entity_kind: str
    entity: str
    kind: str
    key: str
    queue: str
    epoch: int
    deaths: int = 0


class Tx(Protocol):
    """One transaction."""

    @property
    def now(self) -> datetime:
        """The transaction's time: never before the last event of an entity it has locked."""
        ...

    def fresh_id(self, prefix: str) -> str:
        """A new unique id."""
        ...

    def transition(self, kind: str, entity: str, given: Any, cause: Cause, *, library: Any = None) -> Transition:
        """Lock the entity, decide, advance, evolve, append the events, save the snapshot, make the task rows equal to
        `next_tasks`. Raises what `decide` raises, and then has written nothing. An entity that is not there is
        handed to `decide` as None; if events follow, its row is created (`Conflict` if a live one of that kind has
        its project and name)."""
        ...

    def state(self, kind: str, entity: str) -> Any:
        """Lock the entity and return its state; None if there is none."""
        ...

    def version(self, kind: str, entity: str) -> int:
        """Lock the entity; the number of its last event, 0 if there is none."""
        ...

    def shared(self, kind: str, entity: str) -> Any:
        """The state of an entity of a kind that is `shared`, as it stays until this transaction ends; None if there is
        none, and then none comes to be. Transitions of it wait for the transaction, other readers do not. Lock what
        is to be changed first."""
        ...

    def find(self, kind: str, project: str, name: str, *, live: bool = True) -> str | None:
        """The id of the live entity of that name (with live=False, of the newest one)."""
        ...

    def living(self, kind: str, project: str) -> Mapping[str, int]:
        """How many live entities of a kind a project has, by tier. Whoever else asks waits until this transaction ends,
        so that what it creates is counted. Rely on shared states first."""
        ...

    def holds(self, task: Claimed, worker: str) -> bool:
        """Whether the worker still leases the task under this epoch (locks the entity first)."""
        ...

    def take(self, task: Claimed) -> bool:
        """Whether a block task is due, which it then is no more: should what follows raise the block anew, it waits
        for a human again (locks the entity first)."""
        ...

    def claim(self, worker: str, entity: str, limit: int, ceilings: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due steps of an entity that this transaction has locked, within the ceilings of their queues. None
        if another transaction is counting on the same queue: then a claim of the usual kind finds them."""
        ...

    def end_wait(self, task: Claimed) -> bool:
        """Have a leased task be due no more, since its outcome follows in this transaction: a transition of its entity,
        which says anew when it is due. Without that, one that began to wait before the clock was set back would go on
        waiting so. False if this epoch's lease is over."""
        ...

    def release(self, task: Claimed, *, died: bool = False) -> bool:
        """Take back the lease of this epoch: of a task that was not started, or (`died`, counted in `deaths`) whose
        worker is dead; False if it is leased no more. The transition that follows a started one makes it due."""
        ...

    def idempotent(self, principal: str, key: str) -> IdempotentReply | None:
        """The reply kept under the key, unless expired."""
        ...

    def remember(self, principal: str, key: str, reply: IdempotentReply) -> None:
        """Keep a reply under the key."""
        ...

    def put_secret(self, entity: str, component: str, version: int, name: str, sealed: bytes) -> None:
        """Keep or replace ciphertext."""
        ...

    def secrets(self, entity: str, component: str, version: int | None = None) -> dict[str, tuple[int, bytes]]:
        """Ciphertexts by name, with their version: of one version, or the newest of each name."""
        ...

    def reseal(self, was: StoredSecret, sealed: bytes) -> bool:
        """Replace one ciphertext if it is still what it was; False if it was replaced or dropped meanwhile."""
        ...

    def drop_secrets(self, entity: str, component: str | None = None, version: int | None = None) -> None:
        """Forget the ciphertexts of an entity, of one of its components, or of one version of these."""
        ...

    def put_blueprint(self, blueprint: StoredBlueprint, bundle: bytes) -> bool:
        """Publish; False if the same version with the same digest is there already; `Conflict` if with another."""
        ...

    def blueprint(self, name: str, version: str | None = None) -> StoredBlueprint | None:
        """One version, or the one published last."""
        ...

    def bundle(self, digest: str) -> bytes | None:
        """A bundle's bytes."""
        ...

    def targets(self) -> tuple[Target, ...]:
        """All targets, by name."""
        ...

    def put_target(self, target: Target) -> None:
        """Add or replace a target."""
        ...

    def drop_target(self, name: str) -> bool:
        """Remove a target; False if there is none."""
        ...

    def put_token(self, token: StoredToken) -> None:
        """Keep a token's hash. Raises `Conflict` if another, be it expired, has its name."""
        ...

    def tokens(self) -> tuple[StoredToken, ...]:
        """All tokens by name, also those that have expired."""
        ...

    def drop_token(self, name: str) -> bool:
        """Forget a token; False if there is none of that name."""
        ...

    def delivered(self, target: str, ids: Sequence[str]) -> frozenset[str]:
        """Those of these ids of deliveries that were kept before. Lock the target's inbox first."""
        ...

    def keep_deliveries(self, kept: Sequence[StoredDelivery]) -> None:
        """Keep deliveries that were not kept before."""
        ...

    def end_delivery(self, target: str, number: int) -> bool:
        """Mark a delivery as handled; False if it is already."""
        ...

    def drop_deliveries(self, target: str, until: datetime) -> datetime | None:
        """Drop the bodies of what was handled up to a time, and keep the rest of it, for ever: what comes again is
        known. When the oldest was handled that keeps its body; None if no handled one does."""
        ...

    def resolve_block(self, key: str, by: Actor) -> int | None:
        """Make due every twin's block task of that key. How many; None if there is no such block open."""
        ...


class EntityRow(Struct, frozen=True, kw_only=True):
    """An entity with its searched columns, unlocked, as of the last commit."""

    entity: str
    kind: str
    project: str
    name: str
    tier: str
    status: str
    labels: dict[str, str]
    seq: int
    created_at: datetime
    updated_at: datetime
    state: Any


class OperationRow(Struct, frozen=True, kw_only=True):
    """An operation, running (`outcome` None) or ended. `body` is the `Operation`, `end` the `OperationEnded`, `project`
    that of its entity."""

    entity: str
    project: str
    body: Any
    outcome: str | None
    end: Any
    ended_at: datetime | None


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events an audit query wants. None = any; `correlation` is a request id.

    `pull`, a pull request's entity: what happened to it, to its environments and for its sake elsewhere; and, in the
    inbox `inbox`, what became of the deliveries that it has heard of.
    """

    project: str | None = None
    tier: str | None = None
    environment: str | None = None
    entity: str | None = None
    component: str | None = None
    actor: str | None = None
    type: str | None = None
    operation: str | None = None
    correlation: str | None = None
    pull: str | None = None
    inbox: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Page(Struct, frozen=True, kw_only=True):
    """One keyset page. `next` is an opaque cursor, None at the end."""

    items: tuple[Any, ...]
    next: str | None = None


class Finding(Struct, frozen=True, kw_only=True):
    """One broken link of a hash chain."""

    entity: str
    seq: int
    problem: str


class Verification(Struct, frozen=True, kw_only=True):
    """The result of recomputing chains. `heads`: the last hash of each entity checked, for a signed checkpoint."""

    entities: int
    events: int
    findings: tuple[Finding, ...] = ()
    heads: dict[str, str] = field(default_factory=dict)


class Reads(Protocol):
    """Queries outside of any transition; they see the last commit."""

    async def entity(self, kind: str, entity: str) -> EntityRow | None:
        """One entity by id."""
        ...

    async def named(self, kind: str, project: str, name: str) -> EntityRow | None:
        """The live entity of that name, or else the newest that had it."""
        ...

    async def entities(
        self,
        kind: str,
        *,
        project: str | None = None,
        tier: str | None = None,
        status: str | None = None,
        labels: dict[str, str] | None = None,
        live: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """EntityRows in the order of their ids; the cursor is opaque and `Invalid` if it is not one of ours."""
        ...

    async def progress(self, entity: str) -> Mapping[str, str]:
        """What the running steps of an entity said last of how far they are, by their keys."""
        ...

    async def operation(self, operation_id: str) -> OperationRow | None:
        """One operation by id."""
        ...

    async def operations(self, entity: str, *, limit: int = 50, after: str | None = None) -> Page:
        """OperationRows of an entity, newest first."""
        ...

    async def events(self, wanted: EventFilter, *, limit: int = 100, after: str | None = None) -> Page:
        """Recorded events in commit order; never skips one that commits late. `next` is given even on the last page
        that has items, so that a follower can go on from it."""
        ...

    async def history(
        self, kind: str, entity: str, *, until: datetime | None = None, until_seq: int | None = None
    ) -> Any:
        """The state as it was: the fold of the events up to a time or number; None before the first."""
        ...

    async def blocks(self, *, open_only: bool = True) -> tuple[StoredBlock, ...]:
        """Blocks with the twins they stop."""
        ...

    async def token(self, hash: str) -> StoredToken | None:  # noqa: A002
        """The token with that hash, unless expired."""
        ...

    async def tokens(self) -> tuple[StoredToken, ...]:
        """All tokens by name, also those that have expired."""
        ...

    async def sealed_otherwise(
        self, prefix: bytes, *, limit: int = 500, after: StoredSecret | None = None
    ) -> tuple[StoredSecret, ...]:
        """The ciphertexts that begin otherwise than with `prefix`, in the order of their places, from `after` on."""
        ...

    async def targets(self) -> tuple[Target, ...]:
        """All targets, by name."""
        ...

    async def target(self, name: str) -> tuple[Target | None, dict[str, tuple[int, bytes]]]:
        """A target as it is now, with the ciphertexts of its credentials by name, with their version."""
        ...

    async def undone(self, target: str, *, limit: int, after: int = 0) -> tuple[StoredDelivery, ...]:
        """Deliveries that are not handled, in the order of their numbers, from the one after `after` on."""
        ...

    async def blueprints(self, name: str | None = None) -> tuple[StoredBlueprint, ...]:
        """Published versions, newest first."""
        ...

    async def verify(self, entity: str | None = None) -> Verification:
        """Recompute the hash chains of one entity or all."""
        ...


class Store(Reads, Protocol):
    """Durable state."""

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction; returns after COMMIT. Raises `Unavailable` if the database refuses."""
        ...

    async def copy(self, to: Path) -> None:
        """Write all that is committed, as of one moment, to a file that is absent or empty; work goes on meanwhile.
        Raises `Rejected` with the command that does it where the database has means of its own, and `Unavailable` if
        there is no room."""
        ...

    async def close(self) -> None:
        """Finish what is queued and give back connections and locks."""
        ...


class Queue(Protocol):
    """Tasks and workers, for engines."""

    async def register(self, worker: str, host: str, pid: int) -> None:
        """Announce a worker; on a store of a single process, every other worker counts as proven dead."""
        ...

    def heartbeat(self, worker: str) -> None:
        """Extend the worker's lease. Synchronous: called from its own thread, on a connection of its own."""
        ...

    async def claim(
        self,
        worker: str,
        free: dict[str, int],
        limit: int,
        *,
        ceilings: Mapping[str, int] | None = None,
        alone: bool = False,
    ) -> Sequence[Claimed]:
        """Lease due steps: of each queue named in `free` no more than its number, of others none. `ceilings` bound
        how many of a queue are leased by all workers together. Steps with two or more deaths only with `alone`, then
        only one."""
        ...

    async def loners_due(self) -> bool:
        """Whether a step is due that only a claim with `alone` gives out."""
        ...

    async def put_off(self, task: Claimed, seconds: float) -> None:
        """End the task's lease without looking at its entity, and offer it again only after so many seconds."""
        ...

    async def tell(self, task: Claimed, progress: str) -> bool:
        """Keep what a running step says of how far it is, in place of what it said before, until its lease ends;
        False if it has ended. No event, and no lock on the entity: it stops nobody."""
        ...

    async def queues(self) -> Sequence[str]:
        """Queues that have a due task."""
        ...

    async def next_due(self) -> datetime | None:
        """When the next unleased task is due; None if none will be."""
        ...

    async def due_in(self) -> float | None:
        """Seconds until the next unleased task is due, by the database's clock; negative if it is overdue."""
        ...

    async def due_timers(self, limit: int) -> Sequence[Claimed]:
        """Due tasks of kind timer and block; they take no lease (epoch 0)."""
        ...

    async def dead(self, lease: float) -> Sequence[tuple[str, Sequence[Claimed]]]:
        """Workers without a heartbeat for `lease` seconds, by the database's clock, with the tasks they hold."""
        ...

    async def set_back(self, seen: datetime | None) -> tuple[datetime, Sequence[Claimed]]:
        """The time by the database's clock. If that was set back since `seen` (None: since the last event), also a
        timer for each entity whose steps would wait until it has come there again: firing it counts their waits from
        now. Times that people have set, such as an expiry, stay what they are."""
        ...

    async def held(self, worker: str) -> Sequence[Claimed]:
        """What a worker leases."""
        ...

    async def bury(self, worker: str, *, silent: float | None = None) -> None:
        """Forget a worker that holds nothing any more; with `silent`, only if it is still without a heartbeat for so
        many seconds: one that is back would claim as a stranger."""
        ...

    async def wait_for_work(self, timeout: float) -> None:
        """Return when something may have become due or after `timeout` seconds: a hint."""
        ...


class WorkerStore(Store, Queue, Protocol):
    """A store that is also a queue: what workers need."""

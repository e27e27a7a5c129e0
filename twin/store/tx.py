"""`Tx` over an open transaction: every call is one short piece of SQL that stands in the file of its subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text

from twin.domain.decider import Cause
from twin.domain.identity import Actor
from twin.domain.targets import Target
from twin.ports.store import (
    Claimed,
    IdempotentReply,
    StoredBlueprint,
    StoredDelivery,
    StoredSecret,
    StoredToken,
    Transition,
)
from twin.store import access, blocks, ciphertexts, deliveries, library, tasks, transition
from twin.store.moments import from_micros
from twin.store.prepared import Prepared
from twin.store.tables import entities
from twin.store.transact import Deciders, Transaction
from twin.store.transition import Loaded

_named = select(entities.c.id).where(
    (entities.c.kind == bindparam("kind"))
    & (entities.c.project == bindparam("project"))
    & (entities.c.name == bindparam("name"))
)
_live = Prepared(_named.where(entities.c.live))
_newest = Prepared(_named.order_by(entities.c.created_at.desc(), entities.c.id.desc()).limit(1))

_living = Prepared(
    select(entities.c.tier, func.count().label("living"))
    .where((entities.c.kind == bindparam("kind")) & (entities.c.project == bindparam("project")) & entities.c.live)
    .group_by(entities.c.tier)
)
_counting = Prepared(text("SELECT pg_advisory_xact_lock(hashtextextended('twin.living.' || :place, 0))"))


class SqlTx:
    """One transaction of SqlStore."""

    def __init__(self, tx: Transaction, deciders: Deciders) -> None:
        self._tx = tx
        self._connection = tx.connection
        self._deciders = deciders
        self._locked: dict[str, Loaded | None] = {}
        self._targets: tuple[Target, ...] | None = None

    @property
    def now(self) -> datetime:
        """The transaction's time."""
        return from_micros(self._tx.now())

    def fresh_id(self, prefix: str) -> str:
        """A new unique id."""
        return self._tx.clock.fresh_id(prefix)

    def transition(self, kind: str, entity: str, given: Any, cause: Cause, *, library: Any = None) -> Transition:
        """See `twin.ports.store.Tx.transition`."""
        decider = self._deciders[kind]
        before = self._lock(kind, entity)
        after, result = transition.run(self._tx, decider, entity, before, given, cause, library)
        self._locked[entity] = after
        return result

    def state(self, kind: str, entity: str) -> Any:
        """Lock the entity and return its state."""
        loaded = self._lock(kind, entity)
        return None if loaded is None else loaded.state

    def shared(self, kind: str, entity: str) -> Any:
        """See `twin.ports.store.Tx.shared`."""
        if self._locked.get(entity) is not None:
            return self.state(kind, entity)
        return transition.glance(self._tx, self._deciders[kind], entity)

    def version(self, kind: str, entity: str) -> int:
        """Lock the entity; the number of its last event, 0 if there is none."""
        loaded = self._lock(kind, entity)
        return 0 if loaded is None else loaded.seq

    def _lock(self, kind: str, entity: str) -> Loaded | None:
        """Lock it once; later calls see what this transaction has made of it. None is never kept: nothing is locked."""
        loaded = self._locked.get(entity)
        if loaded is None:
            if self._deciders[kind].shared:
                transition.await_glances(self._tx, entity)
            loaded = self._locked[entity] = transition.load(self._tx, self._deciders[kind], entity)
        return loaded

    def find(self, kind: str, project: str, name: str, *, live: bool = True) -> str | None:
        """The id of the live entity of that name, or of the newest."""
        wanted = {"kind": kind, "project": project, "name": name}
        found: str | None = (_live if live else _newest).run(self._connection, wanted).scalar()
        return found

    def living(self, kind: str, project: str) -> dict[str, int]:
        """See `twin.ports.store.Tx.living`."""
        if self._connection.dialect.name == "postgresql":  # SQLite has one writer
            _counting.run(self._connection, {"place": f"{kind}.{project}"})
        rows = _living.run(self._connection, {"kind": kind, "project": project})
        return {row.tier: row.living for row in rows}

    def holds(self, task: Claimed, worker: str) -> bool:
        """Whether the worker still leases the task under this epoch."""
        self._lock(task.entity_kind, task.entity)
        return tasks.holder(self._tx, task) == worker

    def end_wait(self, task: Claimed) -> bool:
        """What the task waited for is over: when it is due again, the transition that follows says."""
        self._lock(task.entity_kind, task.entity)
        return tasks.end_wait(self._tx, task)

    def take(self, task: Claimed) -> bool:
        """Whether a block task is still due; it is no more."""
        self._lock(task.entity_kind, task.entity)
        return tasks.take(self._tx, task)

    def claim(self, worker: str, entity: str, limit: int, ceilings: Mapping[str, int]) -> Sequence[Claimed]:
        """Lease due steps of an entity that this transaction has locked."""
        return tasks.claim_of(self._tx, worker, entity, limit, ceilings)

    def release(self, task: Claimed, *, died: bool = False) -> bool:
        """End a lease; counts a death if the worker died."""
        self._lock(task.entity_kind, task.entity)
        return tasks.release(self._tx, task, died=died)

    def idempotent(self, principal: str, key: str) -> IdempotentReply | None:
        """The reply kept under the key."""
        return access.reply(self._connection, principal, key, self._tx.now())

    def remember(self, principal: str, key: str, reply: IdempotentReply) -> None:
        """Keep a reply under the key."""
        access.remember(self._connection, principal, key, reply, self._tx.now())

    def put_secret(self, entity: str, component: str, version: int, name: str, sealed: bytes) -> None:
        """Keep or replace ciphertext."""
        ciphertexts.put(self._connection, entity, component, version, name, sealed)

    def secrets(self, entity: str, component: str, version: int | None = None) -> dict[str, tuple[int, bytes]]:
        """Ciphertexts by name, with their version."""
        return ciphertexts.of_component(self._connection, entity, component, version)

    def reseal(self, was: StoredSecret, sealed: bytes) -> bool:
        """Replace one ciphertext if it is still what it was."""
        return ciphertexts.reseal(self._connection, was, sealed)

    def drop_secrets(self, entity: str, component: str | None = None, version: int | None = None) -> None:
        """Forget ciphertexts."""
        ciphertexts.drop(self._connection, entity, component, version)

    def put_blueprint(self, blueprint: StoredBlueprint, bundle: bytes) -> bool:
        """Publish a version."""
        return library.publish(self._connection, blueprint, bundle)

    def blueprint(self, name: str, version: str | None = None) -> StoredBlueprint | None:
        """One version, or the one published last."""
        return library.stored(self._connection, name, version)

    def bundle(self, digest: str) -> bytes | None:
        """A bundle's bytes."""
        return library.bundle(self._connection, digest)

    def targets(self) -> tuple[Target, ...]:
        """All targets, by name; read once."""
        if self._targets is None:
            self._targets = library.all_targets(self._connection)
        return self._targets

    def put_target(self, target: Target) -> None:
        """Add or replace a target."""
        self._targets = None
        library.put_target(self._connection, target)

    def drop_target(self, name: str) -> bool:
        """Remove a target."""
        self._targets = None
        return library.drop_target(self._connection, name)

    def put_token(self, token: StoredToken) -> None:
        """Keep a token's hash."""
        access.put_token(self._connection, token)

    def tokens(self) -> tuple[StoredToken, ...]:
        """All tokens by name."""
        return access.all_tokens(self._connection)

    def drop_token(self, name: str) -> bool:
        """Forget a token."""
        return access.drop_token(self._connection, name)

    def delivered(self, target: str, ids: Sequence[str]) -> frozenset[str]:
        """Those of the ids that were kept before."""
        return deliveries.known(self._connection, target, ids)

    def keep_deliveries(self, kept: Sequence[StoredDelivery]) -> None:
        """Keep deliveries."""
        deliveries.keep(self._connection, kept)

    def end_delivery(self, target: str, number: int) -> bool:
        """Mark a delivery as handled."""
        return deliveries.end(self._connection, target, number, self._tx.now())

    def drop_deliveries(self, target: str, until: datetime) -> datetime | None:
        """Drop the bodies of what was handled up to a time."""
        return deliveries.drop(self._connection, target, until)

    def resolve_block(self, key: str, by: Actor) -> int | None:
        """Make due every twin's block task of that key."""
        return blocks.resolve(self._tx, key, by)

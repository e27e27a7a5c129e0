"""What callers present: tokens (as hashes) and idempotency keys."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, text

from twin.domain.errors import Conflict
from twin.ports.store import IdempotentReply, StoredToken
from twin.store.moments import from_micros, optional_micros, optional_moment, to_micros
from twin.store.prepared import Prepared
from twin.store.tables import idempotency, tokens
from twin.store.upsert import upsert

_put_token = Prepared(upsert(tokens).on_conflict_do_nothing().returning(tokens.c.name))
_tokens = Prepared(select(tokens).order_by(tokens.c.name))
_drop_token = Prepared(delete(tokens).where(tokens.c.name == bindparam("of_name")))
_token = Prepared(
    select(tokens).where(
        (tokens.c.hash == bindparam("hash"))
        & (tokens.c.expires_at.is_(None) | (tokens.c.expires_at > bindparam("now")))
    )
)
_reply = Prepared(
    select(idempotency).where(
        (idempotency.c.principal == bindparam("principal"))
        & (idempotency.c.key == bindparam("key"))
        & (idempotency.c.expires_at > bindparam("now"))
    )
)
# Whoever asks for a key may be about to take it: the second waits until the first has committed, and then finds it.
# SQLite has one writer. Taken before any entity, so that it closes no circle with their locks.
_take_turns = Prepared(
    text("SELECT pg_advisory_xact_lock(hashtextextended('twin.idempotency.' || :principal || '/' || :key, 0))")
)
_row = upsert(idempotency)
_remember = Prepared(
    _row.on_conflict_do_update(
        index_elements=["principal", "key"],
        set_={name: _row.excluded[name] for name in ("digest", "operation_id", "entity", "expires_at")},
    )
)
_forget_expired = Prepared(delete(idempotency).where(idempotency.c.expires_at <= bindparam("now")))

_encode = msgspec.json.Encoder().encode
_roles = msgspec.json.Decoder(tuple[tuple[str, str], ...])


def put_token(connection: Connection, token: StoredToken) -> None:
    """What `Tx.put_token` promises."""
    row = {
        "hash": token.hash,
        "name": token.name,
        "roles": _encode(token.roles),
        "created_at": to_micros(token.created_at),
        "expires_at": optional_micros(token.expires_at),
    }
    if _put_token.run(connection, row).one_or_none() is None:
        raise Conflict(
            f"there is a token {token.name!r} already",
            field="name",
            mend=f"Choose another name, or revoke that one first: twin token revoke {token.name}",
        )


def token(connection: Connection, hashed: str, now: int) -> StoredToken | None:
    """The token with that hash, unless expired."""
    row = _token.run(connection, {"hash": hashed, "now": now}).one_or_none()
    return None if row is None else _stored(row)


def all_tokens(connection: Connection) -> tuple[StoredToken, ...]:
    """All of them by name, also those that have expired."""
    return tuple(_stored(row) for row in _tokens.run(connection))


def drop_token(connection: Connection, name: str) -> bool:
    """Forget a token; False if there is none."""
    return _drop_token.run(connection, {"of_name": name}).rowcount > 0


def _stored(row: Any) -> StoredToken:
    return StoredToken(
        hash=row.hash,
        name=row.name,
        roles=_roles.decode(row.roles),
        created_at=from_micros(row.created_at),
        expires_at=optional_moment(row.expires_at),
    )


def reply(connection: Connection, principal: str, key: str, now: int) -> IdempotentReply | None:
    """What the key stands for, unless expired. The key is ours alone until the transaction ends."""
    if connection.dialect.name == "postgresql":
        _take_turns.run(connection, {"principal": principal, "key": key})
    row = _reply.run(connection, {"principal": principal, "key": key, "now": now}).one_or_none()
    if row is None:
        return None
    return IdempotentReply(
        digest=row.digest, operation_id=row.operation_id, entity=row.entity, expires_at=from_micros(row.expires_at)
    )


def remember(connection: Connection, principal: str, key: str, kept: IdempotentReply, now: int) -> None:
    """Keep a reply, and forget those that have expired: this is the only place where rows are added."""
    _forget_expired.run(connection, {"now": now})
    row = {
        "principal": principal,
        "key": key,
        "digest": kept.digest,
        "operation_id": kept.operation_id,
        "entity": kept.entity,
        "expires_at": to_micros(kept.expires_at),
    }
    _remember.run(connection, row)

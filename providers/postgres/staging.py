"""Where a copy stands until it is finished: a database under a name that no other attempt uses and nobody may enter.

It becomes the component's database by two steps that each hold for ever: the completion mark, a comment that says what
was copied, and the name. Without the mark a copy is worth nothing and is dropped; with it, it is only renamed. It stays
closed until the component's first apply.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec
from msgspec import Struct
from psycopg import sql

from providers.postgres import names, roles
from providers.postgres.client import Session
from providers.postgres.errors import working_on
from twin.domain.errors import Terminal
from twin.domain.identity import ComponentRef

CONNECTIONS = 5
"""Who fills it, who watches it, and what was left of a lost attempt."""


class Copy(Struct, frozen=True, kw_only=True):
    """The completion mark. `key` stands for the step that asked for it, `point` is the source's, `rows` and `bytes` are
    what was copied, before any masking."""

    key: str
    mode: str
    rows: int
    bytes: int
    point: str


def key(idempotency_key: str) -> str:
    """A step's key, short enough for a comment."""
    return hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]


def read_mark(comment: str | None, mark: str) -> Copy | None:
    """What the comment on a database says of a finished copy, None if there is none."""
    _, found, text = (comment or "").partition(f"{mark} copy=")
    try:
        return msgspec.json.decode(text, type=Copy) if found else None
    except msgspec.DecodeError:
        return None


async def finished(pg: Session, ref: ComponentRef, key: str) -> Copy | None:
    """The finished copy of that key, published now if it was not yet. If there is none, nothing of any copy is left.

    Raises Terminal if the component's database is in use already.
    """
    if await roles.role(pg, ref.name) is not None:
        await roles.join(pg, ref.name)
    standing = await pg.database(ref.name)
    if standing is not None and not standing.invalid:
        copy = read_mark(standing.mark, ref.mark)
        if copy is not None and copy.key == key:
            await clear(pg, ref)
            return copy
        if copy is None or [name for name in names.logins(ref) if await roles.role(pg, name)]:
            raise Terminal(
                f'database "{ref.name}" is in use and not the copy that is asked for; nothing is copied over it',
                mend="Clone anew: a copy is made before a component is used for the first time.",
            )
    if standing is not None:
        await pg.drop_database(ref.name)  # a copy of something else that nobody has ever entered
    for name in await _all(pg, ref):
        state = await pg.database(name)
        copy = None if state is None else read_mark(state.mark, ref.mark)
        if copy is not None and copy.key == key:
            await publish(pg, ref, name)
            await clear(pg, ref)
            return copy
    await clear(pg, ref)
    return None


async def create(pg: Session, ref: ComponentRef, *, encoding: str, locale: str) -> str:
    """A new and empty one; its name."""
    name = names.of_component(names.STAGING, ref) + secrets.token_hex(4)
    database = sql.Identifier(name)
    await pg.create_database(name, owner=ref.name, encoding=encoding, locale=locale)
    comment = sql.Literal(f"{ref.mark} staging")
    await pg.do(working_on(name), sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, comment))
    await pg.do(working_on(name), sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    await pg.ensure_connection_limit(name, CONNECTIONS)
    await pg.ensure_open(name)  # for the owner's members alone, and of those there are only we and the copier
    return name


async def create_copier(pg: Session, ref: ComponentRef) -> tuple[str, str]:
    """A role with no right but to enter as the owner, to fill the copy; its name and password."""
    name, password = names.of_component(names.COPIER, ref) + secrets.token_hex(4), secrets.token_urlsafe(24)
    await roles.ensure_login_as(pg, name, ref.name, password, f"{ref.mark} copier")
    await _silence(pg, name)
    return name, password


async def _silence(pg: Session, role: str) -> None:
    """What this role fails at does not go into the server's log: such words may hold rows. Where we may not say so, the
    log is the business of whoever runs the server."""
    if pg.version < 150000:
        allowed = await pg.read("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
    else:
        allowed = await pg.read("SELECT has_parameter_privilege('log_min_messages', 'SET')")
    if allowed == [(True,)]:
        statement = sql.SQL("ALTER ROLE {} SET log_min_messages = 'panic'").format(sql.Identifier(role))
        await pg.do(working_on(role), statement)


async def complete(pg: Session, ref: ComponentRef, name: str, copy: Copy) -> None:
    """Write the completion mark, then publish."""
    comment = sql.Literal(f"{ref.mark} copy={msgspec.json.encode(copy).decode()}")
    await pg.do(working_on(name), sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), comment))
    await publish(pg, ref, name)


async def publish(pg: Session, ref: ComponentRef, name: str) -> None:
    """The finished copy is closed, nobody's, and has the component's name."""
    await _drop_copiers(pg, ref)
    await pg.ensure_closed(name)
    await pg.do(
        working_on(name),
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(ref.name)),
    )


async def clear(pg: Session, ref: ComponentRef) -> None:
    """No copy in the making is left, whoever works on it, and nothing that filled one."""
    await _drop_copiers(pg, ref)
    for name in await _all(pg, ref):
        await pg.drop_database(name)


async def _drop_copiers(pg: Session, ref: ComponentRef) -> None:
    found = await pg.read(
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE starts_with(rolname::text, %s)",
        names.of_component(names.COPIER, ref),
    )
    for (name,) in found:
        await roles.drop_role(pg, name)


async def _all(pg: Session, ref: ComponentRef) -> list[str]:
    found = await pg.read(
        "SELECT datname::text FROM pg_catalog.pg_database WHERE starts_with(datname::text, %s) ORDER BY 1",
        names.of_component(names.STAGING, ref),
    )
    return [name for (name,) in found]

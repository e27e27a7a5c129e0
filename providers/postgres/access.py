"""People's own roles in one component's database.

Who may read and who may change everything are two groups, to which the owner's objects are granted: those that stand,
and by default privileges those to come. A viewer is in the first group, a developer in the second; operators and admins
become the owner, as the application does. A member's role is named by hashes, so that any name fits; which part it has,
and a digest of its password by which another one is told, stand in its comment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from psycopg import sql

from providers.postgres import names, roles
from providers.postgres.client import Session
from providers.postgres.errors import CREATE_ROLE, working_on
from twin.domain.identity import ComponentRef
from twin.ports.provider import Member

AT_ONCE = 200
"""Objects named in one GRANT."""

_READ, _WRITE, _OWN = "read", "write", "own"
_PARTS = {"viewer": _READ, "developer": _WRITE, "operator": _OWN, "admin": _OWN}


async def present(pg: Session, ref: ComponentRef) -> set[str]:
    """The members' roles that stand."""
    rows = await pg.read(
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE starts_with(rolname, %s)",
        names.of_component(names.MEMBER, ref),
    )
    return {name for (name,) in rows}


async def ensure_groups(pg: Session, ref: ComponentRef) -> None:
    """The two groups stand, and may enter the database."""
    for group in (names.readers(ref), names.writers(ref)):
        if await roles.role(pg, group) is None:
            statement = sql.SQL("CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOLOGIN")
            await pg.create(CREATE_ROLE, statement.format(sql.Identifier(group)))
        await roles.join(pg, group)
        await roles.comment(pg, group, f"{ref.mark} group")
        database, role = sql.Identifier(ref.name), sql.Identifier(group)
        await pg.do(working_on(ref.name), sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))


async def ensure_rights(inside: Session, ref: ComponentRef) -> None:
    """`inside` the component's database, the groups have their rights on all that the owner has and will have."""
    owner, readers, writers = (sql.Identifier(each) for each in (ref.name, names.readers(ref), names.writers(ref)))
    both = sql.SQL("{}, {}").format(readers, writers)
    doing = working_on(ref.name)
    for right, kind, group in (
        ("USAGE", "SCHEMAS", both),
        ("SELECT", "TABLES", both),
        ("SELECT", "SEQUENCES", both),
        ("INSERT, UPDATE, DELETE", "TABLES", writers),
        ("USAGE, UPDATE", "SEQUENCES", writers),
    ):
        statement = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} ON {} TO {}")
        await inside.do(doing, statement.format(owner, sql.SQL(right), sql.SQL(kind), group))
    schemas, tables, sequences = await _objects(inside, ref.name)
    for right, kind, group, found in (
        ("USAGE", "SCHEMA", both, schemas),
        ("SELECT", "TABLE", both, tables),
        ("SELECT", "SEQUENCE", both, sequences),
        ("INSERT, UPDATE, DELETE", "TABLE", writers, tables),
        ("USAGE, UPDATE", "SEQUENCE", writers, sequences),
    ):
        for start in range(0, len(found), AT_ONCE):
            these = sql.SQL(", ").join(found[start : start + AT_ONCE])
            statement = sql.SQL("GRANT {} ON {} {} TO {}")
            await inside.do(doing, statement.format(sql.SQL(right), sql.SQL(kind), these, group))


async def ensure_member(pg: Session, ref: ComponentRef, member: Member) -> None:
    """The member's role logs in with their password and has their part. Who is connected with another password, or
    with more than that part, is cut off."""
    name, part, password = names.member(ref, member.name), _PARTS[member.role], member.secrets["password"]
    said = f"{ref.mark} member={part} {_digest(name, password)}"
    state = await roles.role(pg, name)
    if state is not None and state.comment == said and state.login:
        return
    if state is None:
        statement = sql.SQL("CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOLOGIN")
        await pg.create(CREATE_ROLE, statement.format(sql.Identifier(name)))
    await roles.join(pg, name)
    if state is not None and state.comment != said:
        await roles.ensure_no_login(pg, name)
        await _leave(pg, ref, name)
        await roles.end_sessions(pg, name)
    # What is not finished has a comment that says no part, so that it is done again.
    await roles.comment(pg, name, f"{ref.mark} member")
    group = {_READ: names.readers(ref), _WRITE: names.writers(ref)}.get(part)
    if group is None:
        await roles.become(pg, name, ref.name)
    else:
        await pg.do(working_on(name), sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
    await roles.open_login(pg, name, password)
    await roles.comment(pg, name, said)


async def drop_members(pg: Session, inside: Session | None, ref: ComponentRef, members: Iterable[str]) -> None:
    """These roles are gone, their sessions with them. `inside` the component's database, if it is there and open, what
    they own becomes the owner's."""
    gone = sorted(members)
    for name in gone:
        await roles.join(pg, name)
        await roles.ensure_no_login(pg, name)
        await roles.end_sessions(pg, name)
    if inside is not None and gone:
        await roles.reassign(inside, ref.name, gone)
    for name in gone:
        await roles.drop_role(pg, name)


async def drop(pg: Session, ref: ComponentRef) -> None:
    """Members and groups are gone, the database being gone already."""
    await drop_members(pg, None, ref, await present(pg, ref))
    for group in (names.readers(ref), names.writers(ref)):
        await roles.drop_role(pg, group)


async def lock_out(pg: Session, ref: ComponentRef) -> None:
    """No member logs in; the password stays."""
    for name in await present(pg, ref):
        await roles.join(pg, name)
        await pg.do(working_on(name), sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(name)))


async def let_in(pg: Session, ref: ComponentRef) -> None:
    """Members whose role is finished log in again, after `lock_out`."""
    for name in await present(pg, ref):
        state = await roles.role(pg, name)
        if state is not None and not state.login and " member=" in (state.comment or ""):
            await roles.join(pg, name)
            await pg.do(working_on(name), sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(name)))


async def _leave(pg: Session, ref: ComponentRef, name: str) -> None:
    """The role has no part in anything."""
    role = sql.Identifier(name)
    for group in (names.readers(ref), names.writers(ref), ref.name):
        if await roles.role(pg, group) is not None:
            await pg.do(working_on(name), sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), role))
    await pg.do(working_on(name), sql.SQL("ALTER ROLE {} RESET ALL").format(role))


async def _objects(
    inside: Session, owner: str
) -> tuple[list[sql.Identifier], list[sql.Identifier], list[sql.Identifier]]:
    """The owner's schemas, tables (and views), and sequences."""
    schemas = await inside.read(
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspowner = %s::regrole ORDER BY 1", _quoted(owner)
    )
    rows = await inside.read(
        """
        SELECT n.nspname::text, c.relname::text, c.relkind = 'S'
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relowner = %s::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
          AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND NOT starts_with(n.nspname, 'pg_toast')
        ORDER BY 1, 2
        """,
        _quoted(owner),
    )
    tables = [sql.Identifier(schema, name) for schema, name, is_sequence in rows if not is_sequence]
    sequences = [sql.Identifier(schema, name) for schema, name, is_sequence in rows if is_sequence]
    return [sql.Identifier(schema) for (schema,) in schemas], tables, sequences


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _digest(name: str, password: str) -> str:
    """Tells one password from another; what is minted is too random to be guessed from it."""
    return hashlib.sha256(f"{name}:{password}".encode()).hexdigest()[:24]

"""The roles of one component: an owner that nobody logs in as, and a login role per live credential.

Login roles are members of the owner and become it as they enter (`SET role`), so that every object belongs to the owner
and outlives the credential. A version's login role is told by its parity: two versions stand side by side, the third
takes the place of the first, with another password. Which version a role stands for is in its comment, written before
its password; an attempt that knows an older version than the comment comes too late and changes nothing.

A component from before there were login roles logs in as its owner. That login stays, with the password of the oldest
live credential, until the first credential is retired.
"""

from __future__ import annotations

from msgspec import Struct
from psycopg import sql

from providers.postgres import names
from providers.postgres.client import Server, Session
from providers.postgres.errors import CREATE_ROLE, dropping_role, working_on
from twin.domain.errors import Blocked, Transient
from twin.domain.identity import ComponentRef

ENDING_SECONDS = 10.0
"""How long a session may take to end; one in the middle of a rollback takes its time."""


class RoleState(Struct, frozen=True, kw_only=True):
    """A role as the catalogues show it. `becomes` is what it turns into on entering, if it may; `groups` are the roles
    whose rights it has as their member."""

    login: bool
    powers: tuple[str, ...]
    comment: str | None
    becomes: str | None
    groups: frozenset[str]


async def role(pg: Session, name: str) -> RoleState | None:
    """The role of that name, or None."""
    return (await _roles(pg, name=name)).get(name)


async def roles(pg: Session, prefix: str) -> dict[str, RoleState]:
    """All roles whose names begin so."""
    return await _roles(pg, prefix=prefix)


async def _roles(pg: Session, *, name: str | None = None, prefix: str | None = None) -> dict[str, RoleState]:
    rows = await pg.read(
        """
        SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid'),
               (SELECT o.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS o ON o.oid = m.roleid
                WHERE m.member = r.oid AND 'role=' || o.rolname = ANY (r.rolconfig) LIMIT 1),
               ARRAY(SELECT o.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS o ON o.oid = m.roleid
                     WHERE m.member = r.oid),
               rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
        FROM pg_catalog.pg_roles AS r
        WHERE r.rolname = %(name)s OR starts_with(r.rolname::text, %(prefix)s) ORDER BY 1
        """,
        name=name,
        prefix=prefix,
    )
    powers = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
    return {
        name: RoleState(
            login=login,
            powers=tuple(power for power, has in zip(powers, flags, strict=True) if has),
            comment=comment,
            becomes=becomes,
            groups=frozenset(groups),
        )
        for name, comment, becomes, groups, login, *flags in rows
    }


def enters_as_owner(ref: ComponentRef, state: RoleState | None) -> bool:
    """Whether the owner is of the time before login roles: it has the mark, and nothing says that it is closed."""
    return state is not None and state.comment == ref.mark


# --- making ---


async def ensure_owner(pg: Session, ref: ComponentRef, password: str | None) -> None:
    """The owner stands, without a login of its own. One from before login roles keeps its login, with `password`."""
    state = await role(pg, ref.name)
    if password is not None and enters_as_owner(ref, state):
        await join(pg, ref.name)
        await set_password(pg, ref.name, password)
        return
    if state is None:
        await create(pg, ref.name)
    await join(pg, ref.name)
    if state is None or state.login or state.powers:
        await ensure_no_login(pg, ref.name)
    if state is None or names.retired(state.comment, ref.mark) is None:
        await comment(pg, ref.name, names.owner_comment(ref.mark))


async def ensure_login(pg: Session, ref: ComponentRef, version: int, password: str) -> bool:
    """That version's role logs in with `password` as the owner. False: it has ended, or the role stands for a later
    one; then nothing is changed."""
    name = names.login(ref, version)
    state = await role(pg, name)
    standing = None if state is None else names.credential(state.comment, ref.mark)
    owner = await role(pg, ref.name)
    ended = 0 if owner is None else names.retired(owner.comment, ref.mark) or 0
    if standing is not None:
        ended = max(ended, standing.version - 1 if standing.live else standing.version)
    if version <= ended:
        return False
    if state is None:
        await create(pg, name)
    await join(pg, name)
    if standing is not None and standing.version < version and standing.live:
        await ensure_no_login(pg, name)  # who is connected came with a password that is none any more
        await end_sessions(pg, name)
    if standing is None or standing.version < version:
        await comment(pg, name, names.Credential(version).comment(ref.mark))
    await become(pg, name, ref.name)
    await set_password(pg, name, password)
    return True


async def ensure_login_as(pg: Session, name: str, owner: str, password: str, text: str) -> None:
    """A role that logs in with `password`, as the owner; `text` is its comment."""
    if await role(pg, name) is None:
        await create(pg, name)
    await join(pg, name)
    await comment(pg, name, text)
    await become(pg, name, owner)
    await set_password(pg, name, password)


async def any_login(pg: Session, ref: ComponentRef) -> bool:
    """Whether any role of the component's own may log in."""
    states = [await role(pg, name) for name in (ref.name, *names.logins(ref))]
    return any(state is not None and state.login for state in states)


async def ensure_tidy(pg: Session, inside: Session, ref: ComponentRef) -> None:
    """`inside` the component's database, what a login role made after an explicit SET ROLE belongs to the owner, and
    the login roles of ended credentials are gone."""
    await reassign(pg, inside, ref.name, list(names.logins(ref)))
    for name in names.logins(ref):
        state = await role(pg, name)
        standing = None if state is None else names.credential(state.comment, ref.mark)
        if standing is not None and not standing.live:
            await drop_role(pg, name)


async def reassign(pg: Session, inside: Session, owner: str, members: list[str]) -> None:
    """`inside` a database, what belongs to `members` is the owner's, and who may not log in has no rights in it."""
    rows = await inside.read(
        """
        SELECT DISTINCT r.rolname::text
        FROM pg_catalog.pg_shdepend AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
        WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname::text = ANY (%s)
          AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        """,
        members,
    )
    for (name,) in rows:
        mine = sql.Identifier(name)
        await join(pg, name)
        await inside.do(working_on(name), sql.SQL("REASSIGN OWNED BY {} TO {}").format(mine, sql.Identifier(owner)))
        # What is left are rights, and they go with a role that goes.
        state = await role(pg, name)
        if state is None or not state.login:
            await inside.do(working_on(name), sql.SQL("DROP OWNED BY {}").format(mine))


async def join(pg: Session, name: str) -> None:
    """An admin that is no superuser may give to a role, end its sessions and act on what is its, only as its member."""
    if not await pg.may_all():
        await pg.do(working_on(name), sql.SQL("GRANT {} TO CURRENT_USER{}").format(sql.Identifier(name), _whole(pg)))


async def become(pg: Session, name: str, owner: str) -> None:
    """The role is a member of the owner and turns into it on entering."""
    await give(pg, name, owner)
    member, group = sql.Identifier(name), sql.Identifier(owner)
    await pg.do(working_on(name), sql.SQL("ALTER ROLE {} SET role TO {}").format(member, group))


async def give(pg: Session, name: str, group: str) -> None:
    """The role is a member of the group, with all that the group may."""
    member = sql.Identifier(name)
    await pg.do(working_on(name), sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(group), member, _whole(pg)))


async def comment(pg: Session, name: str, text: str) -> None:
    """The role's comment."""
    await pg.do(working_on(name), sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(text)))


def _whole(pg: Session) -> sql.SQL:
    # Since 16 a membership says by itself what it allows, and the one that CREATE ROLE gives allows neither.
    return sql.SQL(" WITH INHERIT TRUE, SET TRUE" if pg.version >= 160000 else "")


async def create(pg: Session, name: str) -> None:
    """A role that may do nothing; one that another worker made in the same moment is as good."""
    statement = sql.SQL("CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOLOGIN")
    await pg.create(CREATE_ROLE, statement.format(sql.Identifier(name)))


async def set_password(pg: Session, name: str, password: str, *, login: bool = True) -> None:
    """The role logs in with that password, or would if it might log in."""
    verifier = sql.Literal(pg.verifier(name, password))
    may = sql.SQL("LOGIN" if login else "NOLOGIN")
    await pg.do(working_on(name), sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(sql.Identifier(name), may, verifier))


async def set_login(pg: Session, name: str, *, login: bool) -> None:
    """The role may or may not log in, with the password that it has."""
    may = sql.SQL("LOGIN" if login else "NOLOGIN")
    await pg.do(working_on(name), sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(name), may))


# --- unmaking ---


async def ensure_no_login(pg: Session, name: str) -> None:
    """The role may not log in, and has no password by which it could; sessions go on."""
    await pg.do(working_on(name), sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(sql.Identifier(name)))


async def end_sessions(pg: Session, name: str) -> None:
    """Nobody is connected as that role. Raises Transient if a session does not end in time."""
    rows = await pg.read(
        """
        SELECT pg_catalog.pg_terminate_backend(pid, %s) FROM pg_catalog.pg_stat_activity
        WHERE usename = %s AND pid <> pg_backend_pid()
        """,
        int(ENDING_SECONDS * 1000),
        name,
    )
    if not all(ended for (ended,) in rows):
        raise Transient(f'{pg.target}: a session of role "{name}" has not ended within {ENDING_SECONDS:.0f} s')


async def ensure_suspended(pg: Session, ref: ComponentRef) -> None:
    """No role of the component logs in; whom it stands for stays in its comment."""
    for name in (ref.name, *names.logins(ref)):
        if await role(pg, name) is not None:
            await join(pg, name)
            await ensure_no_login(pg, name)


async def retire(pg: Session, ref: ComponentRef, version: int) -> None:
    """That version's role, unless it stands for a later one, and the login of the time before login roles are closed
    and have no sessions; the owner remembers it."""
    name = names.login(ref, version)
    state = await role(pg, name)
    standing = None if state is None else names.credential(state.comment, ref.mark)
    if state is not None and (standing is None or standing.version <= version):
        await join(pg, name)
        await ensure_no_login(pg, name)
        await end_sessions(pg, name)
        await comment(pg, name, names.Credential(version, "retired").comment(ref.mark))
    owner = await role(pg, ref.name)
    if owner is None:
        return
    await join(pg, ref.name)
    if owner.login or enters_as_owner(ref, owner):
        await ensure_no_login(pg, ref.name)
        await end_sessions(pg, ref.name)
    if (names.retired(owner.comment, ref.mark) or 0) < version:
        await comment(pg, ref.name, names.owner_comment(ref.mark, version))


async def prove_refused(server: Server, pg: Session, ref: ComponentRef, version: int, password: str) -> None:
    """The server itself turns the retired password away. Raises Blocked if it lets it in."""
    name = names.login(ref, version)
    for user in (name, ref.name):
        if not await server.refuses(ref.name, user, password):
            raise Blocked(
                f'{pg.target} lets role "{user}" in with a password that it has not: it does not ask for one',
                key=f"{pg.target}/trust",
                mend='in pg_hba.conf, let lines with "trust" end in "scram-sha-256", then SELECT pg_reload_conf()',
            )
    # Who passed the check of the password in the same moment as it was taken away has a session by now.
    state = await role(pg, name)
    if state is not None and not state.login:
        await end_sessions(pg, name)


async def drop(pg: Session, ref: ComponentRef) -> None:
    """All roles of the component are gone, its database being gone already. Raises Blocked if one owns something in
    another database."""
    for name in (*names.logins(ref), ref.name):
        await drop_role(pg, name)


async def drop_role(pg: Session, name: str) -> None:
    """The role is gone, and its sessions with it."""
    if await role(pg, name) is None:
        return
    await join(pg, name)
    await ensure_no_login(pg, name)
    await end_sessions(pg, name)
    await pg.do(dropping_role(name), sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

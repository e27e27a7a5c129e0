"""People's own roles in a component: viewers read, developers read and write, operators and admins enter as the owner.

A person's role is a member of exactly one group (`tr_…` readers, `tc_…` writers, or the owner) and has no right of its
own. What may log in is decided by its comment, written while nobody can enter with it: the person's role and a
fingerprint of the password, by which a changed one is noticed. A role that has ended is closed, says so in its comment,
and is dropped once what it owns in the database belongs to the owner.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from providers.postgres import names, roles
from providers.postgres.client import Session
from providers.postgres.errors import working_on
from providers.postgres.names import Access
from providers.postgres.roles import RoleState
from twin.domain.errors import Blocked
from twin.domain.identity import ComponentRef
from twin.ports.provider import Member


async def members(pg: Session, ref: ComponentRef) -> dict[str, RoleState]:
    """The roles of people in the component, ended ones too."""
    return await roles.roles(pg, names.of_component(names.MEMBER, ref))


async def groups(pg: Session, ref: ComponentRef) -> dict[str, RoleState]:
    """Of the roles of readers and of writers, those that stand."""
    found = {name: await roles.role(pg, name) for name in names.groups(ref)}
    return {name: state for name, state in found.items() if state is not None}


# --- giving ---


async def ensure_groups(pg: Session, ref: ComponentRef) -> None:
    """Readers and writers stand; nobody can log in as them."""
    standing = await groups(pg, ref)
    for name, what in zip(names.groups(ref), ("readers", "writers"), strict=True):
        state, text = standing.get(name), f"{ref.mark} {what}"
        if state is None:
            await roles.create(pg, name)
            await roles.join(pg, name)
        elif state.login:
            await roles.ensure_no_login(pg, name)
        if state is None or state.comment != text:
            await roles.comment(pg, name, text)


async def ensure_member(pg: Session, ref: ComponentRef, member: Member, *, enters: bool) -> str:
    """The person's role has the rights of `member.role` and no other, and that password; its name.

    Sessions with another password, or of who is the owner no longer, end. Without `enters`, nobody logs in yet.
    """
    name, password = names.member(ref, member.name), member.secrets["password"]
    state = await roles.role(pg, name)
    wanted = Access(member.role, names.fingerprint(name, password))
    standing = None if state is None else names.access(state.comment, ref.mark)
    if state is None:
        await roles.create(pg, name)
    await roles.join(pg, name)
    if state is not None and not _goes_on(ref, standing, wanted):
        await _close(pg, name)
    await _ensure_group(pg, ref, name, names.group(ref, member.role))
    if standing != wanted:
        await roles.comment(pg, name, wanted.comment(ref.mark))
    await roles.set_password(pg, name, password, login=enters)
    return name


def _goes_on(ref: ComponentRef, standing: Access | None, wanted: Access) -> bool:
    """Whether open sessions may stay. One that has entered as the owner acts as the owner until it ends."""
    if standing is None or standing.role is None or wanted.role is None:
        return False
    before, after = names.group(ref, standing.role), names.group(ref, wanted.role)
    return standing.fingerprint == wanted.fingerprint and (before == after or ref.name not in (before, after))


async def ensure_as_noted(pg: Session, ref: ComponentRef) -> None:
    """People's roles are in the groups that their comments say, and nobody is let in who was not: that is for a grant,
    which knows who is a member by now. A comment that is lost is made anew from the role's group; of a role without
    either nobody knows whose it is, and it ends, as does one that has ended already."""
    found = await members(pg, ref)
    if found:
        await ensure_groups(pg, ref)
    for name, state in found.items():
        standing = names.access(state.comment, ref.mark)
        if standing is None:
            role = next((each for each in _BY_POWER if names.group(ref, each) in state.groups), None)
            standing = Access(role)
            if role is None:
                await _close(pg, name)
            await roles.comment(pg, name, standing.comment(ref.mark))
        elif standing.role is None:
            await _close(pg, name)
        if standing.role is not None:
            await roles.join(pg, name)
            await _ensure_group(pg, ref, name, names.group(ref, standing.role))


_BY_POWER: tuple[names.Role, ...] = ("viewer", "developer", "operator")


async def _ensure_group(pg: Session, ref: ComponentRef, name: str, group: str) -> None:
    """The role is a member of that group of the component and of no other. Raises Blocked if another stays, which only
    who has given it can take."""
    ours = {ref.name, *names.groups(ref)}
    state = await roles.role(pg, name)
    others = set() if state is None else (state.groups & ours) - {group}
    for other in sorted(others):
        statement = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(other), sql.Identifier(name))
        await pg.do(working_on(name), statement)
    if others and (now := await roles.role(pg, name)) is not None and now.groups & others:
        left = ", ".join(f'"{each}"' for each in sorted(now.groups & others))
        raise Blocked(
            f'{pg.target}: role "{name}" stays a member of {left}, as another role has given it that',
            key=f"{pg.target}/privilege-{name}",
            mend=f'as a superuser: DROP OWNED BY "{name}" in database "{ref.name}", then DROP ROLE "{name}"',
        )
    if group == ref.name:
        await roles.become(pg, name, group)
        return
    await roles.give(pg, name, group)
    if state is not None and state.becomes is not None:
        await pg.do(working_on(name), sql.SQL("ALTER ROLE {} RESET role").format(sql.Identifier(name)))


# --- taking ---


async def end_others(pg: Session, ref: ComponentRef, people: Collection[str]) -> None:
    """Whoever is not among `people` has no access and no session any more."""
    kept = {names.member(ref, person) for person in people}
    for name in (await members(pg, ref)).keys() - kept:
        await _close(pg, name)
        await roles.comment(pg, name, Access(None).comment(ref.mark))


async def ensure_tidy(pg: Session, inside: Session, ref: ComponentRef) -> None:
    """`inside` the component's database, what people's roles own belongs to the owner, and those that have ended are
    gone."""
    found = await members(pg, ref)
    await roles.reassign(pg, inside, ref.name, list(found))
    for name, state in found.items():
        if names.access(state.comment, ref.mark) == Access(None):
            await roles.drop_role(pg, name)


async def ensure_suspended(pg: Session, ref: ComponentRef) -> None:
    """Nobody logs in and nobody is connected; passwords stay, for the next grant."""
    for name in await members(pg, ref):
        await roles.join(pg, name)
        await roles.set_login(pg, name, login=False)
        await roles.end_sessions(pg, name)


async def drop(pg: Session, ref: ComponentRef) -> None:
    """No person's role is left and no group, the database being gone already."""
    for name in (*await members(pg, ref), *await groups(pg, ref)):
        await roles.drop_role(pg, name)


async def _close(pg: Session, name: str) -> None:
    await roles.join(pg, name)
    await roles.ensure_no_login(pg, name)
    await roles.end_sessions(pg, name)

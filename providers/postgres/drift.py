"""How what stands on the server differs from what was asked for: a sentence for a person, per field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providers.postgres import names
from providers.postgres.client import DatabaseState
from providers.postgres.rights import Missing
from providers.postgres.roles import RoleState, enters_as_owner
from providers.postgres.spec import DatabaseInputs
from twin.domain.identity import ComponentRef


def database_drift(ref: ComponentRef, state: DatabaseState | None, wanted: DatabaseInputs) -> dict[str, str]:
    """Of the database itself."""
    if state is None:
        return {"database": f'database "{ref.name}" does not exist'}
    if state.invalid:
        return {"database": f'a DROP of database "{ref.name}" was interrupted; what it held is lost'}
    drift = {}
    if state.connections != wanted.connections:
        has = "any number of" if state.connections < 0 else state.connections
        drift["connections"] = f"the database accepts {has} connections instead of {wanted.connections}"
    for field, has, want in (("encoding", state.encoding, wanted.encoding), ("locale", state.locale, wanted.locale)):
        if has != want:
            drift[field] = f"the database has {field} {has} instead of {want}"
    if state.owner != ref.name:
        drift["owner"] = f'the database belongs to role "{state.owner}" instead of "{ref.name}"'
    if state.public:
        drift["access"] = "every role of the server may connect to the database"
    if not names.marked(state.mark, ref.mark):
        drift["mark"] = f"the comment on the database is {state.mark!r} instead of {ref.mark!r}"
    if not state.open:
        drift["suspended"] = "the database accepts no connections"
    return drift


def role_drift(ref: ComponentRef, owner: RoleState | None, logins: Mapping[str, RoleState]) -> dict[str, str]:
    """Of the owner and the login roles, by name."""
    if owner is None:
        return {"role": f'role "{ref.name}" does not exist'}
    drift = {}
    for name, state in {ref.name: owner, **logins}.items():
        if state.powers:
            drift["role"] = f'role "{name}" has {", ".join(state.powers)}'
    as_owner = enters_as_owner(ref, owner)
    if as_owner and not owner.login:
        drift["login"] = f'role "{ref.name}" may not log in'
    if not as_owner and owner.login:
        drift["login"] = f'role "{ref.name}" may log in and should not'
    if not as_owner and names.retired(owner.comment, ref.mark) is None:
        drift["mark"] = f'the comment on role "{ref.name}" is {owner.comment!r}'
    if newest(ref, logins) is None and not as_owner:
        drift["login"] = "no role may log in"
    for name, state in logins.items():
        standing = names.credential(state.comment, ref.mark)
        if standing is None:
            drift["mark"] = f'the comment on role "{name}" is {state.comment!r}, which names no credential'
        elif standing.live != state.login:
            can = "may log in and should not" if state.login else "may not log in"
            drift["login"] = f'role "{name}" {can}'
        elif standing.live and state.becomes != ref.name:
            drift["owner"] = f'role "{name}" does not enter as "{ref.name}"'
    return drift


def access_drift(
    ref: ComponentRef, groups: Mapping[str, RoleState], members: Mapping[str, RoleState], lacking: Sequence[Missing]
) -> dict[str, str]:
    """Of people's roles, their groups, and `lacking`, the rights that these have not. The component is open."""
    drift = {}
    for name in names.groups(ref):
        if members and name not in groups:
            drift["people"] = f'role "{name}" does not exist'
    for name, state in groups.items():
        if state.login or state.powers:
            drift["people"] = f'role "{name}" has {", ".join(("LOGIN",) * state.login + state.powers)}'
    for name, state in members.items():
        if told := _member_drift(ref, state):
            drift["people"] = f'role "{name}" {told}'
    if lacking:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        drift["rights"] = "people lack " + "; ".join(each.told for each in lacking[:_SHOWN]) + more
    return drift


_SHOWN = 3


def _member_drift(ref: ComponentRef, state: RoleState) -> str | None:
    standing = names.access(state.comment, ref.mark)
    if standing is None:
        return f"is a person's, and its comment is {state.comment!r}"
    if state.powers:
        return f"has {', '.join(state.powers)}"
    if standing.role is None:
        return "may log in, though its access has ended" if state.login else None
    if not state.login:
        return "may not log in"
    group = names.group(ref, standing.role)
    if state.groups & {ref.name, *names.groups(ref)} != {group}:
        return f'should be a member of "{group}" and of no other role of the component'
    if (state.becomes == ref.name) != (group == ref.name):
        return "does not enter as it should"
    return None


def newest(ref: ComponentRef, logins: Mapping[str, RoleState]) -> str | None:
    """The login role of the newest credential, None if there is none."""
    found = {name: names.credential(state.comment, ref.mark) for name, state in logins.items()}
    live = {name: each.version for name, each in found.items() if each is not None and each.live}
    return max(live, key=live.__getitem__, default=None)


def extension_drift(installed: set[str], ours: list[str], wanted: DatabaseInputs) -> dict[str, str]:
    """Of the extensions; `ours` are those that the twin installed."""
    missing = [name for name in wanted.extensions if name not in installed]
    extra = [name for name in ours if name not in wanted.extensions]
    parts = []
    if missing:
        parts.append(f"not installed: {', '.join(missing)}")
    if extra:
        parts.append(f"installed but not asked for: {', '.join(extra)}")
    return {"extensions": "; ".join(parts)} if parts else {}

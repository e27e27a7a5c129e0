"""What everything of a component is called on the server, and what its comment says.

`ref.name` names the database and the role that owns it; all other names differ from it in the first three characters,
so that they too fit in PostgreSQL's 63 bytes and tell their environment. Comments begin with the environment's mark.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from msgspec import Struct

from twin.domain.identity import ComponentRef, EnvironmentId, physical_name

OWNER = "tw_"
"""Database and owner, as `ref.name` begins."""

LOGINS = ("tb_", "ta_")
"""Two slots for the roles that log in; a version's is told by its parity."""

STAGING, COPIER = "ts_", "tx_"
"""A copy that is not finished, and the role that fills it."""

READERS, WRITERS, MEMBER = "tr_", "tc_", "tm_"
"""Who may read and who may change everything in a component, and one person's role in it."""

PREFIXES = (OWNER, *LOGINS, STAGING, COPIER, READERS, WRITERS, MEMBER)
"""How whatever the provider makes begins, before the environment's own part."""

Role = Literal["viewer", "developer", "operator", "admin"]
"""What a person is in the project or environment."""

_ROLES: dict[str, Role] = {"viewer": "viewer", "developer": "developer", "operator": "operator", "admin": "admin"}
_ACCESS = re.compile(r" member=([a-z]+)(?: password=([0-9a-f]*))?")
_OWNER = re.compile(r" owner(?: retired=(\d+))?")
_CREDENTIAL = re.compile(r" (credential|retired)=(\d+)")


class Credential(Struct, frozen=True):
    """What a login role's comment says of it: the version that it stands for, and whether that one has ended."""

    version: int
    state: Literal["credential", "retired"] = "credential"

    @property
    def live(self) -> bool:
        """Whether it may log in."""
        return self.state == "credential"

    def comment(self, mark: str) -> str:
        """As it is written on the server."""
        return f"{mark} {self.state}={self.version}"


class Access(Struct, frozen=True):
    """What the comment on a person's role says: what the person may do, None if it has ended, and a fingerprint of the
    password. Every role of the server can read comments: no name of a person stands there, and of the password, which
    is minted, too little to tell two candidates in four billion apart."""

    role: Role | None
    fingerprint: str = ""

    def comment(self, mark: str) -> str:
        """As it is written on the server."""
        return f"{mark} member={self.role} password={self.fingerprint}" if self.role else f"{mark} member=ended"


def login(ref: ComponentRef, version: int) -> str:
    """The role that logs in with that version of the credential, and with every second one after it."""
    return LOGINS[version % 2] + ref.name.removeprefix(OWNER)


def logins(ref: ComponentRef) -> tuple[str, ...]:
    """Both login roles."""
    return tuple(prefix + ref.name.removeprefix(OWNER) for prefix in LOGINS)


def readers(ref: ComponentRef) -> str:
    """The role that may read all of the component."""
    return READERS + ref.name.removeprefix(OWNER)


def writers(ref: ComponentRef) -> str:
    """The role that may read and change all of the component."""
    return WRITERS + ref.name.removeprefix(OWNER)


def groups(ref: ComponentRef) -> tuple[str, str]:
    """The roles of readers and of writers."""
    return readers(ref), writers(ref)


def of_component(prefix: str, ref: ComponentRef) -> str:
    """How the names begin of that which a component may have many of: the environment, then the component's hash."""
    environment = ref.name[len(OWNER) :].partition("_")[0]
    return f"{prefix}{environment}_{hashlib.sha256(ref.name.encode()).hexdigest()[:12]}_"


def member(ref: ComponentRef, person: str) -> str:
    """The role of that person in that component."""
    return of_component(MEMBER, ref) + hashlib.sha256(person.encode()).hexdigest()[:20]


def group(ref: ComponentRef, role: Role) -> str:
    """The role through which a person in that role has rights."""
    return {"viewer": readers(ref), "developer": writers(ref)}.get(role, ref.name)


def fingerprint(name: str, password: str) -> str:
    """By which a changed password is noticed."""
    return hashlib.sha256(f"{name}:{password}".encode()).hexdigest()[:8]


def owner_comment(mark: str, retired: int = 0) -> str:
    """The comment on an owner that does not log in, with the last credential that has ended. An owner that does log in,
    as before there were login roles, has the mark alone."""
    return f"{mark} owner retired={retired}" if retired else f"{mark} owner"


def retired(comment: str | None, mark: str) -> int | None:
    """The last credential that has ended, 0 if none has; None if the comment is not that of an owner."""
    found = _OWNER.fullmatch((comment or "").removeprefix(mark))
    return int(found[1] or 0) if found else None


def credential(comment: str | None, mark: str) -> Credential | None:
    """What the comment says, None if it is no login role's."""
    if comment is None or not (found := _CREDENTIAL.fullmatch(comment.removeprefix(mark))):
        return None
    return Credential(int(found[2]), "retired" if found[1] == "retired" else "credential")


def access(comment: str | None, mark: str) -> Access | None:
    """What the comment says, None if it is no person's role's."""
    if comment is None or not (found := _ACCESS.fullmatch(comment.removeprefix(mark))):
        return None
    role = _ROLES.get(found[1])
    return Access(role, found[2] or "") if role or found[1] == "ended" else None


def marked(comment: str | None, mark: str) -> bool:
    """Whether the comment begins with the mark."""
    return comment is not None and (comment == mark or comment.startswith(f"{mark} "))


def prefixes(environment: EnvironmentId) -> list[str]:
    """How the names begin of everything that belongs to the environment."""
    rest = physical_name(environment, "", 0).removeprefix(OWNER).removesuffix("_0")
    return [prefix + rest for prefix in PREFIXES]

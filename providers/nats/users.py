"""Who may log in to a component's account, under which name, and what each may do there.

Names are unique over the whole server and begin with the account's, which holds no dot: the twin's own user, one user
per version of the application's credential, one per member.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import bcrypt
import msgspec

from providers.nats.accounts import Account, Permissions, Subjects, User
from twin.domain.errors import Terminal
from twin.ports.provider import Member

COST = 4
"""bcrypt's cost, the lowest: passwords here are long and random, so a dearer hash protects nothing, while the server
hashes the password of every connected client again at each reload."""

APPLICATION = Permissions(
    publish=Subjects(deny=("$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>", "$JS.API.STREAM.RESTORE.>"))
)
"""All but what is up to the component's inputs: the stream itself."""

VIEWER = Permissions(
    publish=Subjects(
        allow=(
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.DIRECT.GET.>",
            "$JS.API.CONSUMER.NAMES.*",
            "$JS.API.CONSUMER.LIST.*",
            "$JS.API.CONSUMER.INFO.*.*",
        )
    ),
    subscribe=Subjects(deny=("> >",)),
)
"""Hears every subject and reads every message that the stream holds. No consumers: making one has the server write to a
subject of the maker's choice, and fetching or acknowledging takes work away from the application's. For the same
reason no subscription in a queue group (`> >`: any subject, any group), which would take every n-th message away."""

LOCKED = ("IN_PROCESS",)
"""Only connections from within the server's own process: nobody can log in. The hash stays, for the day that the
component is resumed and they are granted access again."""

SHOWN = 24
"""Characters of a member's name that stand in the user's, for the eye; a digest tells alike ones apart."""


def admin(account: str) -> str:
    """The twin's own user in an account."""
    return f"{account}.twin"


def application(account: str, version: int) -> str:
    """The application's user of one version of its credential. The first has the account's name, as all had before
    credentials rotated."""
    return account if version == 1 else f"{account}.{version}"


def personal(account: str, member: str) -> str:
    """A member's user: readable as far as the name is, and never another's."""
    shown = re.sub(r"[^a-z0-9]+", "-", member.lower())[:SHOWN].strip("-")
    return f"{account}.{shown or 'member'}-{hashlib.sha256(member.encode()).hexdigest()[:12]}"


def applications(account: str, users: Iterable[User]) -> dict[int, User]:
    """The application's users among `users`, by version, oldest first."""
    found = {}
    for user in users:
        version = user.user.removeprefix(f"{account}.")
        if user.user == account:
            found[1] = user
        elif version.isdecimal():
            found[int(version)] = user
    return dict(sorted(found.items()))


def members(account: str, users: Iterable[User]) -> list[User]:
    """The members' users among `users`."""
    others = {admin(account), *(user.user for user in applications(account, users).values())}
    return [user for user in users if user.user not in others]


def with_credentials(name: str, before: Account, passwords: Mapping[int, str]) -> list[User]:
    """Everybody in the account `name`, the application with these passwords by version: no other version of it ends.
    Members who were locked out stay so: a grant lets them in, which knows who is one by now.

    A version that is missing below one that is there has been retired, and a late call does not bring it back.
    """
    applied = applications(name, before.users)
    newest = max(applied, default=0)
    for version, password in passwords.items():
        if version in applied or version > newest:
            user = application(name, version)
            applied[version] = with_hash(user, password, before.user(user), APPLICATION)
    return [*applied.values(), *members(name, before.users)]


def without_credential(name: str, before: Account, version: int) -> list[User]:
    """Everybody in the account `name` but the application under that version."""
    retired = application(name, version)
    return [user for user in before.users if user.user not in (retired, admin(name))]


def suspended(name: str, before: Account) -> list[User]:
    """Nobody who can log in: members are locked out and remembered."""
    return [_locked(user) for user in members(name, before.users)]


def with_members(name: str, before: Account, granted: Iterable[Member]) -> list[User]:
    """The application as it is, and exactly these members; locked out as long as the component is suspended."""
    applied = applications(name, before.users)
    users = []
    for member in granted:
        user = personal(name, member.name)
        permissions = VIEWER if member.role == "viewer" else APPLICATION
        users.append(with_hash(user, member.secrets["password"], before.user(user), permissions))
    return [*applied.values(), *(users if applied else map(_locked, users))]


def with_hash(name: str, password: str, before: User | None, permissions: Permissions | None = None) -> User:
    """A user with that password; the hash of `before` stays if it fits, so that an unchanged file stays unchanged.

    Raises Terminal for a password beyond bcrypt's 72 bytes.
    """
    secret = password.encode()
    if len(secret) > 72:
        raise Terminal(f"The password of {name} is longer than the 72 bytes that NATS can check.", field="password")
    if before is not None and bcrypt.checkpw(secret, before.password.encode()):
        return User(name, before.password, permissions)
    return User(name, bcrypt.hashpw(secret, bcrypt.gensalt(COST)).decode(), permissions)


def _locked(user: User) -> User:
    return msgspec.structs.replace(user, allowed_connection_types=LOCKED)

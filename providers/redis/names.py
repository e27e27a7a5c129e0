"""How a component's users are called: all derive from the component's name, and none is a component's.

Component names have neither dot nor hyphen, so a dot parts them from what is added.
"""

from __future__ import annotations

import re
from hashlib import sha256

_UNSAFE = re.compile(r"[^a-z0-9]+")

READABLE = 24
"""Characters of a person's name that are kept, for who reads CLIENT LIST."""


def app_user(component: str, version: int) -> str:
    """The app's user with that version of the credentials. The first has the component's own name."""
    return component if version == 1 else f"{component}.v{version}"


def version_of(component: str, user: str) -> int | None:
    """The version of the credentials that an app's user has; None of a person's."""
    if user == component:
        return 1
    found = re.fullmatch(r"\.v([1-9][0-9]*)", user.removeprefix(component))
    return int(found[1]) if found else None


def member_user(component: str, person: str) -> str:
    """A person's user. The digest keeps apart those whose names look alike."""
    readable = _UNSAFE.sub("-", person.lower()).strip("-")[:READABLE].strip("-")
    return f"{component}.by-{readable or 'member'}-{digest(person)[:10]}"


def component_of(user: str) -> str:
    """The component whose user this is."""
    return user.partition(".")[0]


def digest(password: str) -> str:
    """A password as Redis keeps it."""
    return sha256(password.encode()).hexdigest()

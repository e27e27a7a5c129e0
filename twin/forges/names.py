"""Names that come in from a forge's users, checked before they become part of an address."""

from __future__ import annotations

import re
from urllib.parse import quote

from twin.domain.errors import Terminal

_PART = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(\[bot\])?")


def parts(repository: str) -> tuple[str, str]:
    """Owner and name of `owner/name`. Raises `Terminal` for what cannot be a repository's name."""
    owner, _, name = repository.partition("/")
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in (owner, name)):
        raise Terminal(
            f"{repository[:100]!r} is not the name of a repository",
            field="repository",
            mend="Name it as owner/name.",
        )
    return owner, name


def commit(sha: str) -> str:
    """A whole id. Raises `Terminal` for a branch, a tag or a part of one: they may mean something else later."""
    if not _SHA.fullmatch(sha):
        raise Terminal(f"{sha[:100]!r} is not the whole id of a commit", field="sha", mend="Give all of its digits.")
    return sha


def user(login: str) -> str | None:
    """The login, safe in an address; None if nobody can be called so."""
    return quote(login, safe="") if _LOGIN.fullmatch(login) else None


def file(path: str) -> str:
    """The path of a file, safe in an address. Raises `Terminal` for one that leads out of the repository."""
    if any(part in ("", ".", "..") for part in path.split("/")) or not path.isprintable():
        raise Terminal(f"{path[:100]!r} is not the path of a file", field="path", mend="Give it as a/b/c.")
    return quote(path, safe="/")

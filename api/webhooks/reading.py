"""What all forges' deliveries have in common when they are read: little is believed, and that only in its plain form.

The structs name the few fields that are read, so that a forge may add, drop or leave out whatever else it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from twin.ports.deliveries import Comment, News, Nothing, host_of

COMMAND = "/twin"
_LONGEST = 500
"""Characters of a command: it is one line."""

_NAME = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]{1,100}"
_REPOSITORY = re.compile(f"{_NAME}/{_NAME}")
_LOGIN = re.compile(rf"{_NAME}(\[bot\])?")

_WORD = re.compile(r"[a-z_]{1,50}")

Number = Annotated[int, Meta(ge=1, le=2**53)]

T = TypeVar("T")


class Page(Struct):
    """Something that may have a page on its forge."""

    html_url: str | None = None


class Account(Struct):
    """Who wrote."""

    login: str


class Repository(Struct):
    """Where it happened."""

    full_name: str
    html_url: str
    id: Number | None = None


class Base(Struct):
    """What a pull request asks to be merged into."""

    repo: Repository


class Pull(Struct):
    """A pull request."""

    html_url: str
    base: Base


class PullRequestEvent(Struct):
    """Of all that happens to pull requests."""

    action: str
    number: Number
    pull_request: Pull
    repository: Repository


class Issue(Struct):
    """What was commented on: an issue, or a pull request, which is one too."""

    number: Number
    html_url: str
    pull_request: Page | None = None


class Written(Struct):
    """A comment. `created_at`: with the offset of its time zone."""

    id: Number
    user: Account
    body: str | None = None
    html_url: str | None = None
    created_at: Annotated[datetime, Meta(tz=True)] | None = None


class CommentEvent(Struct):
    """Of comments. `is_pull`: Gitea's word for that it is of a pull request."""

    action: str
    issue: Issue
    comment: Written
    repository: Repository
    is_pull: bool = False


class Unreadable(Exception):
    """What was delivered is not what its event says."""


def read(headers: Mapping[str, str], body: bytes, wanted: type[T]) -> T:
    """The payload as that type. Raises `Unreadable`, saying where."""
    try:
        return msgspec.json.decode(_json(headers, body), type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unreadable(f"it cannot be read: {error}".replace("`", "")) from None


def _json(headers: Mapping[str, str], body: bytes) -> bytes | str:
    """Forges can send JSON alone or as the field of a form."""
    if headers.get("content-type", "").partition(";")[0].strip().casefold() != "application/x-www-form-urlencoded":
        return body
    found = parse_qs(body.decode(), max_num_fields=10).get("payload", [])
    return found[0] if found else b""


def translated(
    event: str, headers: Mapping[str, str], body: bytes, *, is_pull: Callable[[CommentEvent], bool]
) -> News | Nothing:
    """See `twin.ports.deliveries.Translates`. The forges that are known have the same names for it; `is_pull`: how this
    one says that a comment is on a pull request."""
    try:
        match event:
            case "pull_request":
                return of_pull_request(read(headers, body, PullRequestEvent))
            case "issue_comment":
                told = read(headers, body, CommentEvent)
                return of_comment(told) if is_pull(told) else Nothing("a comment on an issue")
            case _:
                return Nothing(f"the event {event} is of no use here")
    except Unreadable as problem:
        return Nothing(str(problem))


def of_pull_request(told: PullRequestEvent) -> News:
    """Something happened to it; what, the forge is asked."""
    base = told.pull_request.base.repo
    return News(
        what=_what("pull_request", told.action),
        hosts=_hosts(told.repository.html_url, told.pull_request.html_url, base.html_url),
        repository=_repository(told.repository, base),
        number=told.number,
        repository_id=told.repository.id,
    )


def of_comment(told: CommentEvent) -> News | Nothing:
    """A comment on a pull request. It may be a command if it is new and its first line begins with `/twin`; whether it
    is, and whose, the forge is asked."""
    if told.action != "created":
        return Nothing(f"a comment was {told.action[:50]}; only new ones command")
    pages = (told.repository.html_url, told.issue.html_url, told.comment.html_url)
    hosts, repository = _hosts(*pages), _repository(told.repository)
    given = _command(told.comment)
    if isinstance(given, Nothing):
        return given
    what = _what("issue_comment", told.action)
    return News(
        what=what,
        hosts=hosts,
        repository=repository,
        number=told.issue.number,
        comment=given,
        repository_id=told.repository.id,
    )


def _what(event: str, action: str) -> str:
    return f"{event}.{action}" if _WORD.fullmatch(action) else event


def _repository(repository: Repository, *others: Repository) -> str:
    if _REPOSITORY.fullmatch(repository.full_name) is None:
        raise Unreadable(f"{repository.full_name[:200]!r} is no name of a repository")
    for other in others:
        if other.full_name.casefold() != repository.full_name.casefold():
            raise Unreadable(f"it is of {repository.full_name} and tells of {other.full_name[:200]!r}")
    return repository.full_name


def _hosts(*pages: str | None) -> tuple[str, ...]:
    hosts: dict[str, None] = {}
    for page in pages:
        if page is None:
            continue
        host = host_of(page)
        if host is None or "@" in page.partition("//")[2].partition("/")[0]:
            raise Unreadable(f"{page[:200]!r} is no address of a page")
        hosts[host] = None
    return tuple(hosts)


def _command(written: Written) -> Comment | Nothing:
    line = (written.body or "").lstrip().partition("\n")[0].strip()
    if line.split(maxsplit=1)[:1] != [COMMAND]:
        return Nothing("a comment that is no command")
    if len(line) > _LONGEST or not line.isprintable():
        return Nothing("a command that is no line of text")
    if _LOGIN.fullmatch(written.user.login) is None:
        return Nothing(f"a command of {written.user.login[:200]!r}, which is no name of a user")
    return Comment(id=str(written.id), author=written.user.login, text=line, at=written.created_at)

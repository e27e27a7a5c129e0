"""The port to what forges deliver by webhook: each edge reads its own forge's form.

What is delivered is a hint and no more. So this is all that is read of it; all else is asked of the forge.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct


class Comment(Struct, frozen=True, kw_only=True):
    """A command that somebody wrote on a pull request. `id` is the forge's number of it, `text` its first line, `at`
    when it was written. As a delivery tells of it, all but the id is hearsay: see `twin.service.inbox_errands`."""

    id: str
    author: str
    text: str
    at: datetime | None = None


class News(Struct, frozen=True, kw_only=True):
    """Something happened to a pull request. `what` is said to have, for people alone (`pull_request.closed`). `hosts`
    are those that the delivery claims to tell of, as `host` or `host:port`. `repository_id`: if it is told. `comment`:
    only if it is a command."""

    what: str
    hosts: tuple[str, ...]
    repository: str
    number: int
    comment: Comment | None = None
    repository_id: int | None = None


class Nothing(Struct, frozen=True):
    """Nothing that concerns previews, and why."""

    why: str


def host_of(page: str) -> str | None:
    """The host of a page as `host`, or `host:port` if the port is not the usual one; None for what is no page."""
    try:
        parts = urlsplit(page)
        port = parts.port
    except ValueError:
        return None
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if usual is None or not parts.hostname:
        return None
    return parts.hostname if port in (None, usual) else f"{parts.hostname}:{port}"


class Translates(Protocol):
    """Reads deliveries of one kind of forge."""

    def __call__(self, event: str, headers: Mapping[str, str], body: bytes) -> News | Nothing:
        """What a delivery says. Of what cannot be read it says so: it raises nothing."""
        ...

"""Exactly one comment of ours, whatever was cut, repeated or done at the same time."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from twin.domain.errors import Transient

_ROUNDS = 5


class Comment(Struct, frozen=True, kw_only=True):
    """A comment of ours; ids rise with time."""

    id: int
    body: str
    url: str


class Comments(Protocol):
    """The comments of one pull request, by the forge's API. Only those whose author is the credential's own user or
    app are ours, whatever a comment says of itself."""

    async def ours(self) -> tuple[Comment, ...]:
        """All of ours."""
        ...

    async def create(self, body: str) -> Comment:
        """One more."""
        ...

    async def edit(self, comment: int, body: str) -> bool:
        """Another body; False if it is not there any more."""
        ...

    async def delete(self, comment: int) -> None:
        """Away with it; none there is success."""
        ...


async def put(comments: Comments, marker: str, body: str) -> str:
    """Have one comment of ours that begins with `marker`, with this body; its URL.

    The marker must stand at the beginning: what people write may be quoted further down. Two that call at the same
    time may make two comments; each looks again after it has made one, and all keep the oldest.
    """
    wanted = body if body.startswith(marker) else f"{marker}\n{body}"
    made: Comment | None = None
    for _ in range(_ROUNDS):
        found = sorted((each for each in await comments.ours() if each.body.startswith(marker)), key=lambda c: c.id)
        if not found:
            if made is not None:
                return made.url  # the listing is behind
            made = await comments.create(wanted)
            continue
        first, *doubles = found
        for double in doubles:
            await comments.delete(double.id)
        if _same(first.body, wanted) or await comments.edit(first.id, wanted):
            return first.url
    raise Transient("the comment is changed again and again while it is written")


def _same(one: str, other: str) -> bool:
    """Forges may change the ends of lines."""
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()

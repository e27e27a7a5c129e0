"""A listing over pages: whole, or not at all.

Pages are counted by position, so that whatever comes or goes while they are read moves the rest: an entry may be seen
twice, or never. Who decides by what is missing must not be given such a listing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from twin.domain.errors import Transient
from twin.domain.pulls import Pull

T = TypeVar("T")

_TRIES = 3


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page. `total`: how many entries all pages have, if the forge tells. `promised`: it names a next page.
    `full`: it has room for no more entry, so that there may be a next page."""

    items: tuple[T, ...]
    total: int | None = None
    promised: bool = False
    full: bool = False
    tag: str | None = None


class Contradiction(Exception):
    """The pages do not belong together."""


async def whole(
    what: str, read: Callable[[int], Awaitable[Page[T]]], key: Callable[[T], Hashable], *, most_pages: int = 200
) -> tuple[tuple[T, ...], tuple[Page[T], ...]]:
    """All entries, and the pages that they stand on. `read` gives a page by its number, from 1.

    Raises `Transient` if the pages contradict each other again and again: one is missing, an entry stands on two of
    them, their counts differ, or the earlier ones have changed when the last one was read.
    """
    for _ in range(_TRIES):
        try:
            return await _once(read, key, most_pages)
        except Contradiction as error:
            why = str(error)
    raise Transient(f"{what}: the listing is not whole: {why}")


async def _once(
    read: Callable[[int], Awaitable[Page[T]]], key: Callable[[T], Hashable], most_pages: int
) -> tuple[tuple[T, ...], tuple[Page[T], ...]]:
    pages: list[Page[T]] = []
    count = 0
    while not pages or _goes_on(pages[-1], count):
        if len(pages) == most_pages:
            raise Contradiction(f"it has more than {most_pages} pages")
        page = await read(len(pages) + 1)
        if pages and not page.items and (pages[-1].promised or page.total is not None or page.promised):
            raise Contradiction(f"page {len(pages) + 1} is empty")
        pages.append(page)
        count += len(page.items)
    items = tuple(item for page in pages for item in page.items)
    totals = {page.total for page in pages}
    if totals != {None} and totals != {len(items)}:
        raise Contradiction(f"it has {len(items)} entries and tells of {' and '.join(sorted(map(str, totals)))}")
    if len({key(item) for item in items}) != len(items):
        raise Contradiction("an entry stands in it twice")
    for number, page in enumerate(pages[:-1], 1):
        again = await read(number)
        if [key(item) for item in again.items] != [key(item) for item in page.items]:
            raise Contradiction("it changed while it was read")
    return items, tuple(pages)


def _goes_on(last: Page[T], count: int) -> bool:
    if last.total is not None:
        return count < last.total
    return last.promised or last.full


class Mark(Struct, frozen=True, kw_only=True):
    """What tells later that nothing has changed: the digest of all, and the forge's own tag of each page, if it has
    such."""

    digest: str
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, pulls: tuple[Pull, ...], tags: tuple[str | None, ...] = ()) -> Mark:
        """The mark of a listing."""
        digest = hashlib.sha256(msgspec.json.encode(sorted(pulls, key=lambda pull: pull.number))).hexdigest()
        return cls(digest=digest, tags=tuple(tag for tag in tags if tag) if all(tags) else ())

    @classmethod
    def read(cls, text: str | None) -> Mark | None:
        """What `text` says; None if it is of an older version, or nothing."""
        try:
            return msgspec.json.decode(text, type=cls) if text else None
        except msgspec.MsgspecError:
            return None

    def text(self) -> str:
        """As it is kept."""
        return msgspec.json.encode(self).decode()

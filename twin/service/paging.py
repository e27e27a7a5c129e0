"""Going through all entities of a kind, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twin.ports.store import EntityRow, Store

_PAGE = 500


async def every(
    store: Store, kind: str, *, project: str | None = None, labels: dict[str, str] | None = None, live: bool = True
) -> AsyncIterator[EntityRow]:
    """The living ones, or with `live` False all that ever were, in the order of their ids."""
    after: str | None = None
    while True:
        page = await store.entities(kind, project=project, labels=labels, live=live, limit=_PAGE, after=after)
        for row in page.items:
            yield row
        if (after := page.next) is None:
            return

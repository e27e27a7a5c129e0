"""The use cases of blocks: see what waits for a human, and say that it is mended."""

from __future__ import annotations

from twin.domain.errors import NotFound
from twin.domain.near import near_misses
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.store import Store, StoredBlock, Tx
from twin.service.principals import Principal, Request
from twin.service.views import BlockView


class Blocks:
    """Lists and resolves blocks."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def all(self, by: Principal, *, open_only: bool = True) -> tuple[BlockView, ...]:
        """Blocks with the environments they stop, oldest first. Needs viewer of all projects."""
        by.require("viewer", "*")
        views = [await self._view(block) for block in await self._store.blocks(open_only=open_only)]
        return tuple(sorted(views, key=lambda view: view.raised_at))

    async def resolve(self, key: str, request: Request) -> int:
        """Say that the cause is mended: every twin that it stops goes on where it stopped. How many those are.
        Needs operator. Raises `NotFound` if no such block is open."""
        request.by.require("operator", "*")

        def resolve(tx: Tx) -> int | None:
            woken = tx.resolve_block(key, request.by.actor)
            if woken is not None:
                fact = Fact(what="block_resolved", details={"key": key, "woken": woken})
                tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            return woken

        woken = await self._store.transact(resolve)
        if woken is None:
            known = [block.key for block in await self._store.blocks()]
            mend = None if known else "Nothing is blocked now."
            raise NotFound(f"no block {key!r} is open", field="key", near=near_misses(key, known), mend=mend)
        self._changes.notify(PLATFORM_ID)
        return woken

    async def _view(self, block: StoredBlock) -> BlockView:
        rows = [await self._store.entity(ENVIRONMENT.kind, entity) for entity in block.entities[:50]]
        return BlockView(
            key=block.key,
            owner=block.owner,
            message=block.message,
            mend=block.mend,
            raised_at=block.raised_at,
            waiting=block.waiting,
            environments=tuple(f"{row.project}/{row.name}" for row in rows if row is not None),
            resolved_at=block.resolved_at,
            resolved_by=block.resolved_by,
        )

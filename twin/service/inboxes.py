"""Taking what forges deliver: kept and numbered in one short transaction; the work is an errand (`inbox_errands`)."""

from __future__ import annotations

import asyncio
import zlib

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import NotFound
from twin.domain.identity import TWIN
from twin.domain.inbox import INBOX, TakeDelivery, inbox_id
from twin.domain.platform import PLATFORM_ID
from twin.ports.changes import Changes
from twin.ports.store import Store, StoredDelivery, Tx
from twin.ports.vault import Vault

WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - its name
"""The credential of a forge's target that its deliveries are signed with."""

LARGE = 256 * 1024
"""Bytes from which on a body is worked on beside the event loop."""

_FAST = 1


class Delivered(Struct, frozen=True, kw_only=True):
    """A delivery whose signature was right. `headers` are those that matter, by their names in lower case."""

    target: str
    id: str
    event: str
    headers: dict[str, str]
    body: bytes


class Inboxes:
    """What edges call. Who may deliver is known by a signature alone: the edge checks it with `secret`."""

    def __init__(self, store: Store, vault: Vault, changes: Changes) -> None:
        self._store = store
        self._vault = vault
        self._changes = changes

    async def secret(self, target: str) -> str:
        """What deliveries for a target are signed with. Raises `NotFound` if it takes none."""
        configured, credentials = await self._store.target(target)
        secret = ""
        if configured is not None and (sealed := credentials.get(WEBHOOK_SECRET)) is not None:
            version, text = sealed
            secret = self._vault.unseal(PLATFORM_ID, target, version, WEBHOOK_SECRET, text)
        if not secret:
            raise NotFound(
                f"no forge {target} takes deliveries",
                field="place",
                mend=f"An admin configures it with: twin target add {target} --secret {WEBHOOK_SECRET}=…",
            )
        return secret

    async def take(self, delivered: Delivered) -> bool:
        """Keep it, so that it is done in time. False if it came before: then nothing has changed."""
        target, entity = delivered.target, inbox_id(delivered.target)
        body = await packed(delivered.body)
        given = TakeDelivery(target=target, delivery=delivered.id, event=delivered.event)

        def take(tx: Tx) -> bool:
            tx.state(INBOX.kind, entity)
            if tx.delivered(target, delivered.id):
                return False
            taken = tx.transition(INBOX.kind, entity, given, Cause(TWIN, delivered.id))
            tx.keep_delivery(
                StoredDelivery(
                    target=target,
                    id=delivered.id,
                    number=taken.after.taken,
                    event=delivered.event,
                    headers=delivered.headers,
                    body=body,
                    taken_at=tx.now,
                )
            )
            return True

        new = await self._store.transact(take)
        if new:
            self._changes.notify(entity)
        return new


async def packed(body: bytes) -> bytes:
    """The body as it is kept."""
    if len(body) < LARGE:
        return zlib.compress(body, _FAST)
    return await asyncio.to_thread(zlib.compress, body, _FAST)


async def unpacked(kept: bytes) -> bytes:
    """The body as it came."""
    if len(kept) < LARGE:
        return zlib.decompress(kept)
    return await asyncio.to_thread(zlib.decompress, kept)

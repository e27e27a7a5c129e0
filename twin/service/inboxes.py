"""Taking what forges deliver: kept and numbered in one short transaction; the work is an errand (`inbox_errands`)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import NotFound, Unavailable
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

_TOGETHER = 32
"""Deliveries that one transaction takes at most."""


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
        self._waiting: dict[str, list[_Waiting]] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}

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
                mend=f"An admin configures it with: twin target add {target} … --credential {WEBHOOK_SECRET}=@FILE",
            )
        return secret

    async def take(self, delivered: Delivered) -> bool:
        """Keep it, so that it is done in time. False if it came before: then nothing has changed.

        What comes in while a transaction of the same inbox commits is taken together, by the next one: a burst does not
        wait for a lock and a disk as often as it has deliveries."""
        target = delivered.target
        one = _Waiting(delivered, await packed(delivered.body), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(target, []).append(one)
        if target not in self._taking:
            # A task of its own: whoever hangs up ends his request, and not what others wait for.
            self._taking[target] = asyncio.create_task(self._take_all(target), name=f"inbox {target}")
        return await one.new

    async def _take_all(self, target: str) -> None:
        try:
            while waiting := self._waiting.pop(target, []):
                for at in range(0, len(waiting), _TOGETHER):
                    await self._take(target, waiting[at : at + _TOGETHER])
        finally:
            del self._taking[target]

    async def _take(self, target: str, together: list[_Waiting]) -> None:
        try:
            new = await self._store.transact(lambda tx: _keep(tx, target, together))
        except Exception as error:
            if len(together) > 1 and not isinstance(error, Unavailable):
                for each in together:  # whichever it is that cannot be kept, the others can
                    await self._take(target, [each])
            else:
                for each in together:
                    if not each.new.done():
                        each.new.set_exception(error)
            return
        for each, is_new in zip(together, new, strict=True):
            if not each.new.done():
                each.new.set_result(is_new)
        if any(new):
            self._changes.notify(inbox_id(target))


class _Waiting(Struct, frozen=True):
    """A delivery, packed, and whoever waits to learn whether it is new."""

    delivered: Delivered
    body: bytes
    new: asyncio.Future[bool]


def _keep(tx: Tx, target: str, together: Sequence[_Waiting]) -> list[bool]:
    """Whether each was new. What is known, and what is kept, is one statement for all of them."""
    entity = inbox_id(target)
    tx.state(INBOX.kind, entity)
    known = {*tx.delivered(target, [each.delivered.id for each in together])}
    new, kept = list[bool](), list[StoredDelivery]()
    for delivered, body in ((each.delivered, each.body) for each in together):
        new.append(delivered.id not in known)
        if not new[-1]:
            continue
        known.add(delivered.id)
        given = TakeDelivery(target=target, delivery=delivered.id, event=delivered.event)
        taken = tx.transition(INBOX.kind, entity, given, Cause(TWIN, delivered.id))
        kept.append(
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
    tx.keep_deliveries(kept)
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

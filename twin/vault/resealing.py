"""Sealing anew what an older key has sealed, so that the older key can be retired."""

from __future__ import annotations

import structlog

from twin.domain.errors import Unreadable
from twin.ports.store import Store, StoredSecret, Tx
from twin.vault.aead import CHECK_PLACE, AeadVault

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH = 200
"""Secrets that one transaction replaces."""


async def reseal(store: Store, vault: AeadVault) -> int:
    """Seal every secret under the current key but the canary, which is the caller's to seal last: as long as it needs
    an old key, so may others. How many were sealed anew; a call that is cut short is finished by the next one.

    What no key opens is logged and left as it is: putting its key back mends it at any time.
    """
    count = 0
    after: StoredSecret | None = None
    while found := await store.sealed_otherwise(vault.prefix, limit=BATCH, after=after):
        fresh = [(was, sealed) for was in found if (sealed := _anew(vault, was)) is not None]

        def replace(tx: Tx, fresh: list[tuple[StoredSecret, bytes]] = fresh) -> int:
            return sum([tx.reseal(was, sealed) for was, sealed in fresh])

        count += await store.transact(replace)
        after = found[-1]
    return count


def _anew(vault: AeadVault, was: StoredSecret) -> bytes | None:
    place = (was.entity, was.component, was.version, was.name)
    if place == CHECK_PLACE:
        return None
    try:
        return vault.seal(*place, vault.unseal(*place, was.sealed))
    except Unreadable as problem:
        log.error("a secret cannot be sealed anew", problem=problem.message, mend=problem.mend)
        return None

"""Being refused is history too: who tried what their roles do not allow."""

from __future__ import annotations

from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.ports.store import Store, Tx
from twin.service.principals import Request


class Refusals:
    """Records refused requests on the platform's chain. Only of known principals: strangers could fill the log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, request: Request, what: str, why: str) -> None:
        """One refusal; `what` is such as `DELETE /v1/environments/env_1`."""
        fact = Fact(what="request_refused", details={"request": what, "reason": why})

        def keep(tx: Tx) -> None:
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)

        await self._store.transact(keep)

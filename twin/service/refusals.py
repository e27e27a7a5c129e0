"""Being refused is history too: who tried what their roles do not allow, deliveries that nobody of ours sent, and those
that came once more."""

from __future__ import annotations

import time
from collections.abc import Callable

from twin.domain.decider import Cause
from twin.domain.identity import TWIN
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.ports.store import Store, Tx
from twin.service.floods import Floods
from twin.service.principals import Request


class Refusals:
    """Records refused requests on the platform's chain. `seconds` is a clock that never goes back."""

    def __init__(self, store: Store, seconds: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._floods = Floods()

    async def record(self, request: Request, what: str, why: str) -> None:
        """One refusal of a known principal; `what` is such as `DELETE /v1/environments/env_1`."""
        fact = Fact(what="request_refused", details={"request": what, "reason": why})
        await self._keep(fact, request.cause)

    async def of_stranger(self, target: str, why: str, *, known: bool, sender: str, request_id: str) -> None:
        """One refused delivery. Strangers could fill the log: of many alike only some are recorded, with the number of
        those before that were not. `known`: such a target is configured; `sender`: the address that it came from."""
        details: dict[str, str | int] = {"target": target[:200], "reason": why, "from": sender}
        await self._of_many(f"{target} {why}" if known else "unknown", "delivery_refused", details, request_id)

    async def of_repetition(self, target: str, delivery: str, *, sender: str, request_id: str) -> None:
        """One delivery that was taken before, and changes nothing: a forge that got no answer sends it again, and so
        does whoever has recorded it on its way."""
        details: dict[str, str | int] = {"target": target, "delivery": delivery, "from": sender}
        await self._of_many(f"{target} again", "delivery_repeated", details, request_id)

    async def _of_many(self, sort: str, what: str, details: dict[str, str | int], request_id: str) -> None:
        unrecorded = self._floods.let(sort, self._seconds())
        if unrecorded is None:
            return
        more = {"unrecorded_before": unrecorded} if unrecorded else {}
        await self._keep(Fact(what=what, details=details | more), Cause(TWIN, request_id))

    async def _keep(self, fact: Fact, cause: Cause) -> None:
        def keep(tx: Tx) -> None:
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, cause)

        await self._store.transact(keep)

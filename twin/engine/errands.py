"""Running errands: what entities other than environments have done outside of any transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import structlog

from twin.domain.decider import Cause
from twin.domain.errors import StepFailure, Transient
from twin.domain.identity import TWIN
from twin.ports.changes import Changes
from twin.ports.errands import Errands
from twin.ports.store import Claimed, Tx

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LONGEST = 300.0
"""Seconds that an errand may take: whoever is asked answers, or is asked again later."""


PUT_OFF = 30.0
"""Seconds after which an errand whose entity cannot be told of a failure is offered again."""


class Persist(Protocol):
    """Commits, and waits for a database that refuses. `step` is for the log."""

    def __call__(self, fn: Callable[[Tx], T], step: str) -> Awaitable[T]:
        """What `fn` returned, once it is committed."""
        ...


class ErrandRunner:
    """Runs errands for one worker. `errands`: those of each kind of entity; `put_off`: see `twin.ports.store.Queue`."""

    def __init__(
        self,
        worker: str,
        errands: Mapping[str, Errands],
        changes: Changes,
        persist: Persist,
        put_off: Callable[[Claimed, float], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._errands = errands
        self._changes = changes
        self._persist = persist
        self._put_off = put_off

    def knows(self, kind: str) -> bool:
        """Whether the leased tasks of this kind of entity are errands."""
        return kind in self._errands

    async def run(self, task: Claimed) -> None:
        """Run it and tell its entity what came of it, if the lease is still ours. If cancelled, it gives that back."""
        logger = log.bind(entity=task.entity, errand=task.key)
        try:
            given = await self._done(task, logger)
        except asyncio.CancelledError:
            await self._persist(lambda tx: tx.release(task), task.key)
            raise

        try:
            await self._end(task, given)
        except Exception:
            # What came of it cannot be taken in: also a fault of ours, so that it counts as failed and is tried again.
            logger.exception("the outcome of an errand could not be kept")
            await self._end_as_failed(task, logger)
        self._changes.notify(task.entity)

    async def _end(self, task: Claimed, given: Any) -> None:
        def end(tx: Tx) -> None:
            if not tx.holds(task, self._worker):
                return
            if given is not None:
                tx.end_wait(task)
                tx.transition(task.entity_kind, task.entity, given, Cause(TWIN))
            # Should the entity want the same once more, it is due: something may have happened meanwhile.
            tx.release(task)

        await self._persist(end, task.key)

    async def _end_as_failed(self, task: Claimed, logger: structlog.stdlib.BoundLogger) -> None:
        try:
            await self._end(task, self._errands[task.entity_kind].failed(task, _fault()))
        except Exception:
            # Its entity cannot be told anything, as when a newer version has written it: others may be able to.
            logger.exception("errand put off")
            await self._put_off(task, PUT_OFF)

    async def _done(self, task: Claimed, logger: structlog.stdlib.BoundLogger) -> Any:
        errands = self._errands[task.entity_kind]
        try:
            async with asyncio.timeout(LONGEST):
                return await errands.run(task)
        except StepFailure as failure:
            logger.info("errand failed", message=str(failure))
            return errands.failed(task, failure)
        except TimeoutError:
            return errands.failed(task, Transient(f"It was not done within {LONGEST:.0f} s."))
        except Exception:
            # A fault of ours. It may come from what was answered, and pass with the next answer.
            logger.exception("errand did not come to its end")
            return errands.failed(task, _fault())


def _fault() -> Transient:
    return Transient("The twin came upon a fault of its own; its log has it.")

"""The errands of preview sources: to compare what the forge lists with what is known, and to wake who got a slot.

Reconciliation destroys nothing: whatever differs is hinted, and the pull request asks the forge itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from twin.domain.decider import Cause
from twin.domain.digest import digest
from twin.domain.errors import StepFailure
from twin.domain.identity import TWIN
from twin.domain.previews.inputs import Hint, SlotGranted
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, RECONCILE, WAKE, PreviewSource, Reconciled, Woken
from twin.domain.previews.trouble import task_failed
from twin.domain.pulls import Pull
from twin.ports.changes import Changes
from twin.ports.clock import Clock
from twin.ports.forge import OpenForges
from twin.ports.store import Claimed, Store, Tx
from twin.service.paging import every
from twin.service.previews.belonging import belongs


class SourceErrands:
    """See `twin.ports.errands.Errands`."""

    def __init__(self, store: Store, forges: OpenForges, changes: Changes, clock: Clock) -> None:
        self._store = store
        self._forges = forges
        self._changes = changes
        self._clock = clock

    async def run(self, task: Claimed) -> Any:
        """One errand of one source, as it is now."""
        row = await self._store.entity(PREVIEW_SOURCE.kind, task.entity)
        if row is None:
            return None
        return await self._reconcile(row.state) if task.key == RECONCILE else await self._wake(task)

    def failed(self, task: Claimed, failure: StepFailure) -> Any:
        """It is tried again."""
        return task_failed(task.key, failure)

    async def _reconcile(self, source: PreviewSource) -> Reconciled:
        """Hint every pull request that is not as it is known. After a change of the configuration, and once all of it
        is to go: every one that is known."""
        news = source.reconciled < source.generation
        known = await self._known(source)
        if source.removed:
            await self._hint(source, known)
            return Reconciled(generation=source.generation)
        forge = await self._forges.forge(source.config.forge, source.config.project)
        # That nothing has changed at the forge says something only of who is known as the forge has listed him. Whoever
        # came and went between two listings is in neither of them.
        as_listed = source.listed is not None and source.listed == _digest(_open(known.values()))
        listing = await forge.open_pulls(source.repository, source.mark if as_listed and not news else None)
        listed_as = source.listed
        if listing.pulls is not None:
            await belongs(self._store, source, next((pull.home for pull in listing.pulls), None))
            listed_as = _digest(listing.pulls)
            listed = {pull.number: pull for pull in listing.pulls}
            differ = {number for number, pull in listed.items() if _differs(known.get(number), pull)}
            # What is not listed may be closed: it is asked, and nothing follows from its absence here.
            missing = {number for number, state in known.items() if number not in listed and not _is_over(state)}
            await self._hint(source, {*differ, *missing, *(known if news else ())})
        return Reconciled(generation=source.generation, mark=listing.mark, listed=listed_as)

    async def _known(self, source: PreviewSource) -> dict[int, PullRequest]:
        rows = every(self._store, PULL_REQUEST.kind, labels={"source": source.name})
        return {row.state.origin.number: row.state async for row in rows}

    async def _hint(self, source: PreviewSource, numbers: Iterable[int]) -> None:
        delivery = self._clock.fresh_id("rec")
        for number in sorted(numbers):
            entity = pull_id(source.name, number)
            hint = Hint(origin=source.origin(number), delivery=delivery, what="reconciliation")
            await self._store.transact(partial(_give, entity=entity, hint=hint))
            self._changes.notify(entity)

    async def _wake(self, task: Claimed) -> None:
        pull = task.key.removeprefix(WAKE)

        def wake(tx: Tx) -> None:
            waiting = tx.state(PULL_REQUEST.kind, pull)  # locked in the order of ids
            source: PreviewSource = tx.state(PREVIEW_SOURCE.kind, task.entity)
            if pull not in source.unaware:
                return
            if waiting is not None:
                tx.transition(PULL_REQUEST.kind, pull, SlotGranted(), Cause(TWIN, pull, pull))
            tx.transition(PREVIEW_SOURCE.kind, task.entity, Woken(pull), Cause(TWIN, pull, pull))

        await self._store.transact(wake)
        self._changes.notify(pull)


def _give(tx: Tx, entity: str, hint: Hint) -> None:
    tx.transition(PULL_REQUEST.kind, entity, hint, Cause(TWIN, hint.delivery))


def _open(known: Iterable[PullRequest]) -> list[Pull]:
    return [state.pull for state in known if state.pull is not None and not _is_over(state)]


def _digest(pulls: Iterable[Pull]) -> str:
    return digest(sorted(pulls, key=lambda pull: pull.number))


def _differs(known: PullRequest | None, pull: Pull) -> bool:
    return known is None or known.pull != pull


def _is_over(state: PullRequest) -> bool:
    return state.gone or (state.pull is not None and state.pull.is_over)

"""The errands of pull requests: to their forge, to their environment, and for a slot."""

from __future__ import annotations

from typing import Any

from twin.domain.decider import Cause
from twin.domain.errors import StepFailure
from twin.domain.identity import TWIN
from twin.domain.previews.inputs import SlotFreed, SlotGranted, SlotQueued
from twin.domain.previews.names import source_id
from twin.domain.previews.pull_request import SINKS, PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, FreeSlot, PreviewSource, TakeSlot
from twin.domain.previews.standing import slot_due, wish
from twin.domain.previews.tasks import DEPLOY, LOOK, PUBLISH, SEE, SLOT
from twin.domain.previews.trouble import no_room, task_failed
from twin.domain.previews.words import publication
from twin.domain.quotas import QuotaReached
from twin.ports.changes import Changes
from twin.ports.store import Claimed, Store, Tx
from twin.service.previews.belonging import REPLACED, Replaced
from twin.service.previews.committing import committed
from twin.service.previews.deploying import Deploying
from twin.service.previews.looking import Looking
from twin.service.previews.publishing import Publishing


class PullErrands:
    """See `twin.ports.errands.Errands`."""

    def __init__(
        self, store: Store, changes: Changes, looking: Looking, deploying: Deploying, publishing: Publishing
    ) -> None:
        self._store = store
        self._changes = changes
        self._looking = looking
        self._deploying = deploying
        self._publishing = publishing

    async def run(self, task: Claimed) -> Any:
        """One errand of one pull request, as it is now."""
        row = await self._store.entity(PULL_REQUEST.kind, task.entity)
        if row is None:
            return None
        state: PullRequest = row.state
        about = _about(state, task.key)
        try:
            return await self._run(task, state)
        except QuotaReached as reached:
            return no_room(task.key, reached, about)
        except Replaced as replaced:
            return task_failed(task.key, replaced, REPLACED if task.key == LOOK else about)
        except StepFailure as failure:
            return task_failed(task.key, failure, about)

    def failed(self, task: Claimed, failure: StepFailure) -> Any:
        """It is tried again."""
        return task_failed(task.key, failure)

    async def _run(self, task: Claimed, state: PullRequest) -> Any:
        if task.key == LOOK:
            return await self._looking.look(state)
        if task.key == DEPLOY:
            return await self._deploying.deploy(task.entity, state)
        if task.key == SEE:
            return await self._deploying.see(task.entity, state)
        if task.key == SLOT:
            return await self._slot(task.entity, state)
        return await self._publishing.publish(task)

    async def _slot(self, pull: str, state: PullRequest) -> None:
        """Take or free one: the pull request and its source change together, locked in the order of their ids."""
        source = source_id(state.origin.source)

        def give(tx: Tx) -> bool:
            now: PullRequest = tx.state(PULL_REQUEST.kind, pull)
            wished, cause = wish(now), Cause(TWIN, pull, pull)
            if not slot_due(now) or wished is None:
                return False
            there = tx.state(PREVIEW_SOURCE.kind, source) is not None
            if wished.sha is None:
                if there:
                    tx.transition(PREVIEW_SOURCE.kind, source, FreeSlot(pull), cause)
                tx.transition(PULL_REQUEST.kind, pull, SlotFreed(), cause)
                return True
            most = now.verdict.most if now.verdict is not None else None
            after: PreviewSource = tx.transition(
                PREVIEW_SOURCE.kind, source, TakeSlot(pull=pull, most=most), cause
            ).after
            ahead = after.ahead(pull)
            told = SlotQueued(ahead) if ahead is not None else SlotGranted()
            tx.transition(PULL_REQUEST.kind, pull, told, cause)
            return True

        if await committed(self._store, give):
            self._changes.notify(pull)
            self._changes.notify(source)


def _about(state: PullRequest, key: str) -> str | None:
    """What an attempt is about, so that what failed for good is tried again only when it is about something else."""
    if key == DEPLOY:
        wished = wish(state)
        return wished.digest if wished is not None else None
    said = next((publication(state, sink) for sink in SINKS if key == PUBLISH + sink), None)
    return said.digest if said is not None else None

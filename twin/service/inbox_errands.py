"""Doing what forges have delivered: each delivery becomes hints or a command for pull requests, or is ignored, once.

A delivery is marked as handled in the transaction of its hints. Whatever a crash repeats, is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import Problem, StepFailure, Terminal, Transient, Unavailable
from twin.domain.identity import TWIN
from twin.domain.inbox import (
    DELIVERIES,
    INBOX,
    KEPT,
    RETENTION,
    DropBodies,
    EndDelivery,
    Inbox,
    LeaveAll,
    LeaveDeliveries,
    Outcome,
)
from twin.domain.pulls import Permission
from twin.ports.changes import Changes
from twin.ports.clock import Clock
from twin.ports.deliveries import News, Nothing, Translates, host_of
from twin.ports.forge import OpenForges
from twin.ports.store import Claimed, Store, StoredDelivery, Tx
from twin.service.inboxes import unpacked

Telling = Callable[[Tx], str]
"""Tells a pull request; returns its entity."""

_PAGE = 20
"""Deliveries that are read at once: each may be large."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PullRequests(Protocol):
    """Where news go: to the pull requests of each preview source."""

    async def told(self, delivery: StoredDelivery, news: News, permission: Permission) -> tuple[Telling, ...]:
        """What is to be done about it, for each source that names the repository: it is done in one transaction with
        all the others. `permission`: of whoever commands. Raises `Terminal` if it is no command at all."""
        ...

    async def followed(self, forge: str, repository: str) -> bool:
        """Whether any preview source names the repository."""
        ...


class _Done(Struct, frozen=True):
    outcome: Outcome
    why: str
    entities: tuple[str, ...] = ()


class InboxErrands:
    """See `twin.ports.errands.Errands`. `translations`: by the kind of forge, the first word of a target's name."""

    def __init__(
        self,
        store: Store,
        forges: OpenForges,
        pulls: PullRequests,
        translations: Mapping[str, Translates],
        changes: Changes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._clock = clock
        self._forges = forges
        self._pulls = pulls
        self._translations = translations
        self._changes = changes

    async def run(self, task: Claimed) -> Any:
        """One of the two errands of an inbox."""
        row = await self._store.entity(INBOX.kind, task.entity)
        if row is None:
            return None
        if task.key == RETENTION:
            return await self._drop(task, row.state)
        return await self._deliver(task, row.state)

    def failed(self, task: Claimed, failure: StepFailure) -> Any:
        """It is run again after a while."""
        return LeaveAll(failure=failure) if task.key == DELIVERIES else DropBodies(failed=True)

    async def _drop(self, task: Claimed, inbox: Inbox) -> None:
        def drop(tx: Tx) -> None:
            tx.state(INBOX.kind, task.entity)
            oldest = tx.drop_deliveries(inbox.target, tx.now - KEPT)
            tx.transition(INBOX.kind, task.entity, DropBodies(oldest=oldest), Cause(TWIN))

        await self._store.transact(drop)

    async def _deliver(self, task: Claimed, inbox: Inbox) -> LeaveDeliveries:
        """What is new; and, if nothing is, what was left. What cannot be done now stops nothing that comes after it."""
        due = inbox.block is None and (inbox.retry_at is None or inbox.retry_at <= self._clock.now())
        again = due or inbox.tried >= inbox.taken
        after, left = 0 if again else inbox.tried, 0
        failure: StepFailure | None = None
        while page := await self._store.undone(inbox.target, limit=_PAGE, after=after):
            for delivery in page:
                if delivery.number <= inbox.taken and (why := await self._try(task.entity, delivery, failure)):
                    failure, left = why, left + 1
            after = page[-1].number
            if after >= inbox.taken:
                break
        waiting = left if again else left + inbox.waiting
        return LeaveDeliveries(through=inbox.taken, waiting=waiting, failure=failure)

    async def _try(self, entity: str, delivery: StoredDelivery, before: StepFailure | None) -> StepFailure | None:
        """Why a delivery cannot be done now; None if it is. `before`: why an earlier one could not."""
        try:
            await self._do(entity, delivery, before)
        except Terminal as wrong:  # it will never be otherwise
            await self._end(entity, delivery, _ignore(wrong.message))
        except StepFailure as failure:
            return failure
        except Exception:
            log.exception("delivery is not done", target=delivery.target, delivery=delivery.id)
            return Transient("The twin came upon a fault of its own; its log has it.")
        return None

    async def _do(self, entity: str, delivery: StoredDelivery, before: StepFailure | None) -> None:
        news = await self._read(delivery)
        if isinstance(news, Nothing):
            return await self._end(entity, delivery, _ignore(news.why))
        forge = await self._forges.forge(delivery.target)
        home = host_of(forge.clone_url(news.repository))
        if strange := sorted(set(news.hosts) - {home}):
            why = f"it tells of {', '.join(strange)}, and {delivery.target} is {home}"
            return await self._end(entity, delivery, _ignore(why))
        if not await self._pulls.followed(delivery.target, news.repository):
            return await self._end(entity, delivery, _ignore(f"no preview source names {news.repository}"))
        permission: Permission = "none"
        if news.comment is not None:
            if isinstance(before, Transient):  # a forge that does not answer is not asked for each of many
                raise before
            permission = await forge.permission(news.repository, news.comment.author)
        tellings = await self._pulls.told(delivery, news, permission)

        def give(tx: Tx) -> _Done:
            return _Done("given", _why(news), tuple(tell(tx) for tell in tellings))

        try:
            await self._end(entity, delivery, give)
        except Unavailable as refusal:
            raise Transient(refusal.message) from None
        except Problem as problem:
            await self._end(entity, delivery, _ignore(problem.message))

    async def _read(self, delivery: StoredDelivery) -> News | Nothing:
        translate = self._translations.get(delivery.target.partition("/")[0])
        if translate is None or delivery.body is None:
            return Nothing("nothing here reads what such a forge delivers")
        try:
            return translate(delivery.event, delivery.headers, await unpacked(delivery.body))
        except Exception:
            log.exception("delivery cannot be read", target=delivery.target, delivery=delivery.id)
            return Nothing("it cannot be read; the log says why")

    async def _end(self, entity: str, delivery: StoredDelivery, give: Any) -> None:
        def end(tx: Tx) -> tuple[str, ...]:
            tx.state(INBOX.kind, entity)  # two that do the same delivery take turns
            if not tx.end_delivery(delivery.target, delivery.number):
                return ()
            done: _Done = give(tx)
            ended = EndDelivery(
                number=delivery.number,
                delivery=delivery.id,
                outcome=done.outcome,
                why=done.why,
                entities=done.entities,
            )
            tx.transition(INBOX.kind, entity, ended, Cause(TWIN, delivery.id))
            return done.entities

        for told in await self._store.transact(end):
            self._changes.notify(told)
        self._changes.notify(entity)


def _why(news: News) -> str:
    place = f"{news.repository}#{news.number}"
    if news.comment is None:
        return f"{place} may have changed: {news.what}"
    return f"{news.comment.author} wrote {news.comment.text!r} on {place}"


def _ignore(why: str) -> Any:
    return lambda tx: _Done("ignored", why)

"""Doing what forges have delivered: each delivery becomes hints or a command for pull requests, or is ignored, once.

A delivery is marked as handled in the transaction of its hints. Whatever a crash repeats, is not done again. All of a
page are done in one transaction: of a burst, the last is handled before the work for the first has begun, so that a
pull request with four hints asks its forge once.

A command is no more believed of a delivery than anything else: what was signed names a comment, and whoever knows the
secret could write any. Who wrote it, what and when, the forge is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from twin.domain.decider import Cause
from twin.domain.errors import Blocked, Problem, StepFailure, Terminal, Transient, Unavailable
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
from twin.domain.previews.commands import command_line
from twin.domain.previews.source import PreviewSource
from twin.domain.pulls import Permission, Repository
from twin.ports.changes import Changes
from twin.ports.clock import Clock
from twin.ports.deliveries import Comment, News, Nothing, Translates, host_of
from twin.ports.forge import Comment as Written
from twin.ports.forge import Forge, OpenForges
from twin.ports.store import Claimed, Store, StoredDelivery, Tx
from twin.service.inboxes import unpacked

_PAGE = 20
"""Deliveries that are read at once: each may be large."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Telling(Struct, frozen=True):
    """Tells a pull request: the entity of that kind and id."""

    kind: str
    entity: str
    tell: Callable[[Tx], None]


class PullRequests(Protocol):
    """Where news go: to the pull requests of each preview source."""

    async def sources(self, forge: str, repository: str, repository_id: int | None) -> Sequence[PreviewSource]:
        """The preview sources of the repository that is called so, and has that id if it is known, in the order in
        which their pull requests are locked."""
        ...

    async def told(
        self, sources: Sequence[PreviewSource], delivery: StoredDelivery, news: News, permission: Permission
    ) -> tuple[Telling, ...]:
        """What is to be done about it, for each of the sources: it is done in one transaction with all the others.
        `permission`: of whoever commands. Raises `Terminal` if it is no command at all."""
        ...


class _Do(Struct, frozen=True):
    """What is to be done about a delivery within the transaction that marks it."""

    outcome: Outcome
    why: str
    tellings: tuple[Telling, ...] = ()


class _Prepared(Struct, frozen=True):
    delivery: StoredDelivery
    do: _Do


class _Known:
    """What the deliveries of a page need to know, found out once: the forge, and who follows which repository."""

    def __init__(self, target: str, forges: OpenForges, pulls: PullRequests) -> None:
        self._target = target
        self._forges = forges
        self._pulls = pulls
        self._forge: Forge | None = None
        self._sources: dict[tuple[str, int | None], Sequence[PreviewSource]] = {}
        self._homes: dict[str, Repository] = {}

    async def forge(self) -> Forge:
        """The one that delivered."""
        self._forge = self._forge or await self._forges.forge(self._target)
        return self._forge

    async def serves(self, project: str) -> bool:
        """Whether it is for the previews of that project."""
        try:
            await self._forges.forge(self._target, project)
        except Blocked:
            return False
        return True

    async def sources(self, news: News) -> Sequence[PreviewSource]:
        """Those of its repository."""
        key = (news.repository, news.repository_id)
        if key not in self._sources:
            self._sources[key] = await self._pulls.sources(self._target, *key)
        return self._sources[key]

    async def sure(self, news: News) -> News:
        """With the repository as the forge knows it, if anything depends on that: whoever may sign deliveries of one
        repository may sign what they like. A hint alone leads to a look, and to nothing else."""
        sources = await self.sources(news)
        renamed = any(source.repository.casefold() != news.repository.casefold() for source in sources)
        if not renamed and (news.comment is None or all(source.known is None for source in sources)):
            return news
        if news.repository not in self._homes:
            self._homes[news.repository] = await (await self.forge()).repository(news.repository)
        home = self._homes[news.repository]
        return replace(news, repository=home.name, repository_id=home.id)


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
            mine = [delivery for delivery in page if delivery.number <= inbox.taken]
            failures = await self._try_all(task.entity, inbox.target, mine, failure)
            failure, left = failures[-1] if failures else failure, left + len(failures)
            after = page[-1].number
            if after >= inbox.taken:
                break
        waiting = left if again else left + inbox.waiting
        return LeaveDeliveries(through=inbox.taken, waiting=waiting, failure=failure)

    async def _try_all(
        self, entity: str, target: str, page: Sequence[StoredDelivery], before: StepFailure | None
    ) -> list[StepFailure]:
        """Why some of them cannot be done now; all others are. `before`: why an earlier one could not."""
        known, together = _Known(target, self._forges, self._pulls), list[_Prepared]()
        failures: list[StepFailure] = []
        for delivery in page:
            news = await self._read(delivery)
            if isinstance(news, News) and news.comment is not None:
                # The forge is asked, and may take its time: what came before does not wait for it.
                failures += await self._end_all(entity, together)
                known, together = _Known(target, self._forges, self._pulls), []
            try:
                do = await self._prepared(delivery, news, known, failures[-1] if failures else before)
            except Terminal as wrong:  # it will never be otherwise
                do = _ignore(wrong.message)
            except StepFailure as failure:
                failures.append(failure)
                continue
            except Exception:
                failures.append(_fault(delivery))
                continue
            together.append(_Prepared(delivery, do))
        return failures + await self._end_all(entity, together)

    async def _prepared(
        self, delivery: StoredDelivery, news: News | Nothing, known: _Known, before: StepFailure | None
    ) -> _Do:
        if isinstance(news, Nothing):
            return _ignore(news.why)
        forge = await known.forge()
        home = host_of(forge.clone_url(news.repository))
        if strange := sorted(set(news.hosts) - {home}):
            return _ignore(f"it tells of {', '.join(strange)}, and {delivery.target} is {home}")
        if news.comment is not None and isinstance(before, Transient) and await known.sources(news):
            raise before  # a forge that does not answer is not asked for each of many
        news = await known.sure(news)
        sources = await known.sources(news)
        if not sources:
            return _ignore(f"no preview source names {news.repository}")
        permission: Permission = "none"
        if news.comment is not None:
            if not (sources := [each for each in sources if await known.serves(each.config.project)]):
                return _ignore(f"{delivery.target} does not take previews of its projects any more")
            there = await forge.comment(news.repository, news.number, int(news.comment.id))
            commanded = _as_it_stands(news.comment, there)
            if isinstance(commanded, Nothing):
                return _ignore(commanded.why)
            news = replace(news, comment=commanded)
            permission = await forge.permission(news.repository, commanded.author)
        tellings = await self._pulls.told(sources, delivery, news, permission)
        return _Do("given", _why(news), tellings)

    async def _read(self, delivery: StoredDelivery) -> News | Nothing:
        translate = self._translations.get(delivery.target.partition("/")[0])
        if translate is None or delivery.body is None:
            return Nothing("nothing here reads what such a forge delivers")
        try:
            return translate(delivery.event, delivery.headers, await unpacked(delivery.body))
        except Exception:
            log.exception("delivery cannot be read", target=delivery.target, delivery=delivery.id)
            return Nothing("it cannot be read; the log says why")

    async def _end_all(self, entity: str, together: Sequence[_Prepared]) -> list[StepFailure]:
        """Do them in one transaction; if that fails, each in one of its own: whichever it is, the others can be done.
        Why some could not."""
        try:
            if together:
                await self._end(entity, together)
        except Unavailable as refusal:
            return [Transient(refusal.message)] * len(together)
        except Exception:
            return [failure for each in together if (failure := await self._end_one(entity, each)) is not None]
        return []

    async def _end_one(self, entity: str, prepared: _Prepared) -> StepFailure | None:
        try:
            await self._end(entity, (prepared,))
        except Unavailable as refusal:
            return Transient(refusal.message)
        except (Problem, Terminal) as refusal:
            return await self._end_one(entity, _Prepared(prepared.delivery, _ignore(refusal.message)))
        except Exception:
            return _fault(prepared.delivery)
        return None

    async def _end(self, entity: str, together: Sequence[_Prepared]) -> None:
        for told in await self._store.transact(lambda tx: _end(tx, entity, together)):
            self._changes.notify(told)
        self._changes.notify(entity)


def _end(tx: Tx, entity: str, together: Sequence[_Prepared]) -> set[str]:
    """Whom they were given to; nobody of what was done before."""
    # Two that do the same deliveries take turns here: each is marked by one of them.
    mine = [each for each in together if tx.end_delivery(each.delivery.target, each.delivery.number)]
    # In whatever order they were delivered, pull requests are locked in the order of their ids.
    for pull, kind in sorted({(telling.entity, telling.kind) for each in mine for telling in each.do.tellings}):
        tx.state(kind, pull)
    for each in mine:
        for telling in each.do.tellings:
            telling.tell(tx)
    # The inbox comes last, though not by its id: whatever is delivered meanwhile waits for its lock, and so does the
    # forge for its answer. Nobody else locks it together with anything.
    for each in mine:
        told, delivery = tuple(telling.entity for telling in each.do.tellings), each.delivery
        ended = EndDelivery(
            number=delivery.number, delivery=delivery.id, outcome=each.do.outcome, why=each.do.why, entities=told
        )
        tx.transition(INBOX.kind, entity, ended, Cause(TWIN, delivery.id))
    return {telling.entity for each in mine for telling in each.do.tellings}


def _as_it_stands(told: Comment, there: Written | None) -> Comment | Nothing:
    """The command of a comment that was told of: of this its id alone is taken."""
    if there is None:
        return Nothing(f"the forge has no comment {told.id} of anybody there")
    line = command_line(there.body)
    if line is None:
        return Nothing(f"comment {told.id} is no command, as it stands at the forge")
    return Comment(id=told.id, author=there.author, text=line, at=there.at)


def _fault(delivery: StoredDelivery) -> Transient:
    """In the handler of an exception that nobody has thought of."""
    log.exception("delivery is not done", target=delivery.target, delivery=delivery.id)
    return Transient("The twin came upon a fault of its own; its log has it.")


def _why(news: News) -> str:
    place = f"{news.repository}#{news.number}"
    if news.comment is None:
        return f"{place} may have changed: {news.what}"
    return f"{news.comment.author} wrote {news.comment.text!r} on {place}"


def _ignore(why: str) -> _Do:
    return _Do("ignored", why)

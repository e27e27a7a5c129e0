"""News of pull requests, as what their entities are told: a hint to look at the forge, or a command."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import Terminal
from twin.domain.identity import TWIN, Actor
from twin.domain.previews.commands import Command, parse_command
from twin.domain.previews.inputs import CommandGiven, Hint
from twin.domain.previews.names import pull_id, source_id
from twin.domain.previews.pull_request import Origin, PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource, RepositorySeen
from twin.domain.pulls import Permission, Repository
from twin.ports.deliveries import Comment, News
from twin.ports.store import Store, StoredDelivery, Tx
from twin.service.inbox_errands import Telling
from twin.service.paging import every


class PullNews(Struct, frozen=True):
    """See `twin.service.inbox_errands.PullRequests`."""

    store: Store

    async def sources(self, forge: str, repository: str, repository_id: int | None) -> Sequence[PreviewSource]:
        """Those of the repository that is called so, and has that id."""
        rows = every(self.store, PREVIEW_SOURCE.kind, labels={"forge": forge})
        found = [row.state async for row in rows if row.state.is_of(repository, repository_id)]
        # Locks are taken in the order of ids.
        return sorted(found, key=lambda source: pull_id(source.name, 0))

    async def told(
        self, sources: Sequence[PreviewSource], delivery: StoredDelivery, news: News, permission: Permission
    ) -> tuple[Telling, ...]:
        """What each source's pull request is told, and the source if its repository has another name now: another
        repository may have the old one already. That name is the forge's word, not the delivery's."""
        tellings = []
        for source in sources:
            tellings += _renaming(source, delivery, news)
            origin = source.origin(news.number)
            if news.comment is None:
                tellings.append(_hint(origin, delivery, news))
            else:
                command = parse_command(news.comment.text)
                if command is None:
                    raise Terminal("a comment that is no command")
                sha = await self._known_head(origin, delivery, news.comment) if command.name == "allow" else None
                tellings.append(_command(origin, delivery, news.comment, command, permission, sha))
        return tuple(tellings)

    async def _known_head(self, origin: Origin, delivery: StoredDelivery, comment: Comment) -> str | None:
        """The last commit as it was known when the comment was written: however long it takes until that is delivered
        and read, what was pushed since is not allowed by it."""
        entity = pull_id(origin.source, origin.number)
        until = min(delivery.taken_at, comment.at) if comment.at is not None else delivery.taken_at
        then: PullRequest | None = await self.store.history(PULL_REQUEST.kind, entity, until=until)
        return then.pull.head_sha if then is not None and then.pull is not None else None


def _renaming(source: PreviewSource, delivery: StoredDelivery, news: News) -> list[Telling]:
    known, entity = source.known, source_id(source.name)
    if known is None or known.id != news.repository_id or known.name.casefold() == news.repository.casefold():
        return []
    now = Repository(id=known.id, name=news.repository)
    given, cause = RepositorySeen(repository=now, generation=source.generation), Cause(TWIN, delivery.id)

    def tell(tx: Tx) -> None:
        tx.transition(PREVIEW_SOURCE.kind, entity, given, cause)

    return [Telling(PREVIEW_SOURCE.kind, entity, tell)]


def _hint(origin: Origin, delivery: StoredDelivery, news: News) -> Telling:
    cause = Cause(Actor("pull_request", f"{origin.repository}#{origin.number}"), delivery.id)
    given = Hint(origin=origin, delivery=delivery.id, what=news.what)
    return _telling(origin, given, cause)


def _command(
    origin: Origin,
    delivery: StoredDelivery,
    comment: Comment,
    command: Command,
    permission: Permission,
    sha: str | None,
) -> Telling:
    given = CommandGiven(
        origin=origin,
        comment=comment.id,
        command=command.name,
        argument=command.argument,
        by=comment.author,
        permission=permission,
        sha=sha,
    )
    cause = Cause(Actor("person", comment.author), delivery.id)
    return _telling(origin, given, cause)


def _telling(origin: Origin, given: Hint | CommandGiven, cause: Cause) -> Telling:
    entity = pull_id(origin.source, origin.number)

    def tell(tx: Tx) -> None:
        tx.transition(PULL_REQUEST.kind, entity, given, cause)

    return Telling(PULL_REQUEST.kind, entity, tell)

"""Hearing: what forges deliver, and what reconciliation finds, becomes hints and commands for pull requests."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twin.domain.decider import Cause
from twin.domain.errors import Terminal
from twin.domain.identity import TWIN
from twin.domain.previews.commands import parse_command
from twin.domain.previews.inputs import CommandGiven, Hint
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import Origin
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource
from twin.domain.pulls import Permission
from twin.ports.deliveries import News
from twin.ports.store import Store, StoredDelivery, Tx
from twin.service.inbox_errands import Telling


class Hearing:
    """See `twin.service.inbox_errands.PullRequests`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def followed(self, forge: str, repository: str) -> bool:
        """Whether any source names the repository. A removed one hears on until nothing of it is left."""
        async for _ in self._sources(forge, repository):
            return True
        return False

    async def told(self, delivery: StoredDelivery, news: News, permission: Permission) -> tuple[Telling, ...]:
        """A hint, or a command, for the pull request of each source."""
        origins = [origin_of(source, news.number) async for source in self._sources(delivery.target, news.repository)]
        given = [_input(origin, delivery, news, permission) for origin in origins]
        return tuple(_telling(each, delivery.id) for each in given)

    async def _sources(self, forge: str, repository: str) -> AsyncIterator[PreviewSource]:
        after: str | None = None
        while True:
            wanted = {"forge": forge, "repository": repository}
            page = await self._store.entities(PREVIEW_SOURCE.kind, labels=wanted, after=after)
            for row in page.items:
                yield row.state
            if (after := page.next) is None:
                return


def origin_of(source: PreviewSource, number: int) -> Origin:
    """Where a pull request of a source is."""
    config = source.config
    return Origin(
        source=source.name,
        forge=config.forge,
        repository=config.repository,
        number=number,
        project=config.project,
    )


def _input(origin: Origin, delivery: StoredDelivery, news: News, permission: Permission) -> Hint | CommandGiven:
    if news.comment is None:
        return Hint(origin=origin, delivery=delivery.id, what=news.what)
    command = parse_command(news.comment.text)
    if command is None:
        raise Terminal(f"{news.comment.author} wrote no command")
    return CommandGiven(
        origin=origin,
        comment=news.comment.id,
        command=command.name,
        argument=command.argument,
        by=news.comment.author,
        permission=permission,
    )


def _telling(given: Hint | CommandGiven, delivery: str) -> Telling:
    entity = pull_id(given.origin.source, given.origin.number)

    def tell(tx: Tx) -> str:
        tx.transition(PULL_REQUEST.kind, entity, given, Cause(TWIN, delivery))
        return entity

    return tell

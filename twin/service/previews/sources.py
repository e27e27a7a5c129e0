"""The use cases of preview sources: which repositories have previews, and of what they are made."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from twin.domain.errors import Invalid, NotFound
from twin.domain.near import near_misses
from twin.domain.previews.config import TIER, SourceConfig
from twin.domain.previews.names import source_id
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, Configure, PreviewSource, RemoveSource
from twin.domain.previews.words import phase, reason
from twin.ports.changes import Changes
from twin.ports.store import Store, Tx
from twin.service.paging import every
from twin.service.principals import Principal, Request


class SourceView(Struct, frozen=True, kw_only=True):
    """A preview source as people see it. `live` and `waiting`: its pull requests."""

    name: str
    status: str
    config: SourceConfig
    live: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class PullView(Struct, frozen=True, kw_only=True):
    """A pull request with a preview, or waiting for one. `status`: what its comment says in a word; `why`: who or what
    is waited for, or what went wrong; `commit`: the newest one; `environment`: PROJECT/NAME, once there is one."""

    number: int
    status: str
    title: str = ""
    author: str = ""
    commit: str = ""
    link: str = ""
    environment: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    why: str | None = None


class PreviewSources:
    """What edges call. `forges`: the kinds of forges that are installed."""

    def __init__(self, store: Store, changes: Changes, forges: frozenset[str]) -> None:
        self._store = store
        self._changes = changes
        self._forges = forges

    async def put(self, name: str, config: SourceConfig, request: Request) -> SourceView:
        """Configure a source, new or not. Needs operator of its project. Raises `Invalid` naming the field."""
        request.by.require("operator", config.project)
        known = await self._store.entity(PREVIEW_SOURCE.kind, source_id(name))
        if known is not None:
            request.by.require("operator", known.state.config.project)

        def configure(tx: Tx) -> PreviewSource:
            self._check_forge(tx, config)
            given = Configure(name=name, config=config)
            after: PreviewSource = tx.transition(PREVIEW_SOURCE.kind, source_id(name), given, request.cause).after
            return after

        return self._changed(name, await self._store.transact(configure))

    async def remove(self, name: str, request: Request) -> SourceView:
        """End all of its previews. Needs operator of its project. Raises `NotFound`."""
        view = await self.get(name, request.by)
        request.by.require("operator", view.config.project)

        def remove(tx: Tx) -> PreviewSource:
            done = tx.transition(PREVIEW_SOURCE.kind, source_id(name), RemoveSource(), request.cause)
            after: PreviewSource = done.after
            return after

        return self._changed(name, await self._store.transact(remove))

    async def get(self, name: str, by: Principal) -> SourceView:
        """One of them; raises `NotFound`, also for one of a project that the principal may not see."""
        row = await self._store.entity(PREVIEW_SOURCE.kind, source_id(name))
        if row is None or not by.may("viewer", row.state.config.project):
            seen = [each.name for each in await self.all(by)]
            raise NotFound(f"there is no preview source {name!r}", field="name", near=near_misses(name, seen))
        return _view(row.state)

    async def all(self, by: Principal) -> tuple[SourceView, ...]:
        """Those that the principal may see, by name."""
        rows = every(self._store, PREVIEW_SOURCE.kind)
        return tuple([_view(row.state) async for row in rows if by.may("viewer", row.state.config.project)])

    async def pulls(self, name: str, by: Principal) -> tuple[PullView, ...]:
        """Its pull requests that have a preview or wait for one, by number. Raises `NotFound` as `get` does."""
        view = await self.get(name, by)
        rows = [await self._store.entity(PULL_REQUEST.kind, each) for each in (*view.live, *view.waiting)]
        found = [_pull_view(row.state, view.config.project) for row in rows if row is not None]
        return tuple(sorted(found, key=lambda each: each.number))

    def _check_forge(self, tx: Tx, config: SourceConfig) -> None:
        """The same is asked whenever the forge is opened for the source: its target may be narrowed later."""
        forges = {each.name: each for each in tx.targets() if each.provider in self._forges}
        if config.forge not in forges:
            near = near_misses(config.forge, forges)
            raise Invalid(
                f"forge is {config.forge!r}, which is no target of a forge",
                field="forge",
                mend=f"Did you mean {near[0]}?" if near else "Add it first: twin target add github/main …",
            )
        if not forges[config.forge].allows(config.project, TIER):
            raise Invalid(
                f"forge is {config.forge!r}, which does not take previews of project {config.project!r}",
                field="forge",
                mend="Name another target, or have an admin widen this one's projects and tiers.",
            )

    def _changed(self, name: str, state: PreviewSource) -> SourceView:
        self._changes.notify(source_id(name))
        return _view(state)


def _view(state: PreviewSource) -> SourceView:
    status = "removed" if state.at_rest else "removing" if state.removed else "ready"
    return SourceView(
        name=state.name,
        status="blocked" if any(each.block for each in state.troubles.values()) else status,
        config=state.config,
        live=tuple(sorted(state.live)),
        waiting=tuple(each.pull for each in state.queue),
        problems=tuple(each.message for each in state.troubles.values()),
    )


def _pull_view(state: PullRequest, project: str) -> PullView:
    pull, env = state.pull, state.environment
    view = PullView(number=state.origin.number, status=phase(state), why=reason(state))
    if pull is not None:
        view = replace(view, title=pull.title, author=pull.author, commit=pull.head_sha, link=pull.url)
    if env is not None:
        view = replace(view, environment=f"{project}/{env.name}", url=env.url, expires_at=env.expires_at)
    return view

"""Looking: what the forge shows of a pull request now, and what its source's configuration makes of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twin.domain.errors import Blocked, Terminal
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.inputs import Looked
from twin.domain.previews.judging import Verdict, judge, unread
from twin.domain.previews.names import source_id
from twin.domain.previews.narrowing import FILE
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource
from twin.domain.previews.tasks import CONTENT
from twin.domain.previews.trouble import TaskFailed, task_failed
from twin.domain.pulls import Pull
from twin.ports.forge import Forge, OpenForges
from twin.ports.store import Store
from twin.service.previews.belonging import belongs
from twin.service.previews.repository_file import MOST, read_aside

KEPT = 128
"""Commits whose file is remembered."""

Read = Callable[[bytes], Awaitable[Any]]
"""See `read_aside`."""


class Looking:
    """Runs the errand `look`. What a commit has in it never changes: of the last ones it is known without asking, for
    every label and every comment leads to a look, and forges count calls."""

    def __init__(self, store: Store, forges: OpenForges, *, sandbox: bool, read: Read = read_aside) -> None:
        self._store = store
        self._forges = forges
        self._files: dict[tuple[str, str, str], bytes | None] = {}
        self._sandbox = sandbox
        self._read = read

    async def look(self, state: PullRequest) -> Looked:
        """The answer to the look that is wanted. Raises `StepFailure`: then nothing follows from it."""
        origin, wanted = state.origin, state.wanted
        forge = await self._forges.forge(origin.forge, origin.project)
        row = await self._store.entity(PREVIEW_SOURCE.kind, source_id(origin.source))
        source: PreviewSource | None = row.state if row is not None else None
        name = source.repository if source is not None and source.known is not None else origin.repository
        pull = await forge.pull(name, origin.number)
        if source is not None and not source.removed:
            # That there is no such pull request says nothing unless it is the same repository that has none.
            ask = pull is None and source.known is not None
            home = await forge.repository(name) if ask else pull.home if pull is not None else None
            await belongs(self._store, source, home)
        if pull is None or pull.is_over:
            return Looked(look=wanted, pull=pull)
        config = source.config if source is not None and not source.removed else None
        if config is None:
            return Looked(look=wanted, pull=pull, verdict=judge(None, pull, paths=None, sandbox=self._sandbox))
        verdict, failed = await self._judged(config, origin.forge, forge, pull)
        return Looked(look=wanted, pull=pull, verdict=verdict, failed=failed)

    async def _judged(
        self, config: SourceConfig, name: str, forge: Forge, pull: Pull
    ) -> tuple[Verdict, TaskFailed | None]:
        """The verdict, and why it is not the whole one."""
        alone = judge(config, pull, paths=None, sandbox=self._sandbox)
        if pull.is_fork and alone.unwanted is not None:
            return alone, None
        try:
            document = await self._document(name, forge, pull)
            paths = await _paths(forge, config, document, pull)
        except (Blocked, Terminal) as failure:
            # The file only narrows: what gets no preview as it is gets none with it.
            return (alone, None) if alone.unwanted is not None else (unread(failure), task_failed(CONTENT, failure))
        return judge(config, pull, paths=paths, sandbox=self._sandbox, document=document), None

    async def _document(self, name: str, forge: Forge, pull: Pull) -> Any:
        """What the commit's own file says; of a fork, whose file nobody has read, nothing."""
        if pull.is_fork:
            return None
        commit = (name, pull.repository, pull.head_sha)
        if commit not in self._files:
            content = await forge.content(pull.repository, FILE, pull.head_sha)
            while len(self._files) >= KEPT:
                del self._files[next(iter(self._files))]
            self._files[commit] = content if content is None else content[: MOST + 1]
        content = self._files[commit]
        return await self._read(content) if content is not None else None


async def _paths(forge: Forge, config: SourceConfig, document: Any, pull: Pull) -> tuple[str, ...] | None:
    """What it changes, if anything depends on it."""
    narrows = isinstance(document, dict) and document.get("paths")
    if not (config.paths or narrows):
        return None
    return await forge.changed_paths(pull.repository, pull.number)

"""Looking: what the forge shows of a pull request now, and what its source's configuration makes of that."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from twin.domain.errors import Invalid
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.inputs import Looked
from twin.domain.previews.judging import judge
from twin.domain.previews.names import source_id
from twin.domain.previews.narrowing import FILE
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource
from twin.domain.pulls import Pull
from twin.ports.forge import Forge, OpenForges
from twin.ports.store import Store

MOST = 64 * 1024
"""Bytes of a repository's own file."""


KEPT = 128
"""Commits whose file is remembered."""


class Looking:
    """Runs the errand `look`. What a commit has in it never changes: of the last ones it is known without asking, for
    every label and every comment leads to a look, and forges count calls."""

    def __init__(self, store: Store, forges: OpenForges, *, sandbox: bool) -> None:
        self._store = store
        self._forges = forges
        self._files: dict[tuple[str, str, str], bytes | None] = {}
        self._sandbox = sandbox

    async def look(self, state: PullRequest) -> Looked:
        """The answer to the look that is wanted. Raises `StepFailure`: then nothing follows from it."""
        origin, wanted = state.origin, state.wanted
        forge = await self._forges.forge(origin.forge, origin.project)
        pull = await forge.pull(origin.repository, origin.number)
        if pull is None or pull.is_over:
            return Looked(look=wanted, pull=pull)
        row = await self._store.entity(PREVIEW_SOURCE.kind, source_id(origin.source))
        source: PreviewSource | None = row.state if row is not None else None
        config = source.config if source is not None and not source.removed else None
        document = await self._document(origin.forge, forge, pull) if config is not None else None
        paths = await _paths(forge, config, document, pull)
        verdict = judge(config, pull, paths=paths, sandbox=self._sandbox, document=document)
        return Looked(look=wanted, pull=pull, verdict=verdict)

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
        return _read(self._files[commit])


async def _paths(forge: Forge, config: SourceConfig | None, document: Any, pull: Pull) -> tuple[str, ...] | None:
    """What it changes, if anything depends on it."""
    narrows = isinstance(document, dict) and document.get("paths")
    if config is None or not (config.paths or narrows):
        return None
    return await forge.changed_paths(pull.repository, pull.number)


def _read(content: bytes | None) -> Any:
    """What a file says. An `Invalid` if it says nothing that can be understood."""
    if content is None:
        return None
    if len(content) > MOST:
        return Invalid(f"{FILE} has more than {MOST} bytes", field=FILE, mend="Have it smaller.")
    try:
        return YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())[:300]
        return Invalid(f"it is no YAML: {line}", field=FILE, mend="Correct it, and push.")

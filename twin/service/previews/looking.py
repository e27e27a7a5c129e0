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

SANDBOX = False
"""Whether what runs a preview's code keeps it from the rest: processes share the machine, and nothing else runs any."""

MOST = 64 * 1024
"""Bytes of a repository's own file."""


class Looking:
    """Runs the errand `look`."""

    def __init__(self, store: Store, forges: OpenForges) -> None:
        self._store = store
        self._forges = forges

    async def look(self, state: PullRequest) -> Looked:
        """The answer to the look that is wanted. Raises `StepFailure`: then nothing follows from it."""
        origin, wanted = state.origin, state.wanted
        forge = await self._forges.forge(origin.forge)
        pull = await forge.pull(origin.repository, origin.number)
        if pull is None or pull.is_over:
            return Looked(look=wanted, pull=pull)
        row = await self._store.entity(PREVIEW_SOURCE.kind, source_id(origin.source))
        source: PreviewSource | None = row.state if row is not None else None
        config = source.config if source is not None and not source.removed else None
        document = await _document(forge, pull) if config is not None else None
        paths = await _paths(forge, config, document, pull)
        verdict = judge(config, pull, paths=paths, sandbox=SANDBOX, document=document)
        return Looked(look=wanted, pull=pull, verdict=verdict)


async def _paths(forge: Forge, config: SourceConfig | None, document: Any, pull: Pull) -> tuple[str, ...] | None:
    """What it changes, if anything depends on it."""
    narrows = isinstance(document, dict) and document.get("paths")
    if config is None or not (config.paths or narrows):
        return None
    return await forge.changed_paths(pull.repository, pull.number)


async def _document(forge: Forge, pull: Pull) -> Any:
    """What the commit's own file says; of a fork, whose file nobody has read, nothing. An `Invalid` if it says nothing
    that can be understood."""
    if pull.is_fork:
        return None
    content = await forge.content(pull.repository, FILE, pull.head_sha)
    if content is None:
        return None
    if len(content) > MOST:
        return Invalid(f"{FILE} has {len(content)} bytes", field=FILE, mend=f"Have it smaller than {MOST}.")
    try:
        return YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())[:300]
        return Invalid(f"it is no YAML: {line}", field=FILE, mend="Correct it, and push.")

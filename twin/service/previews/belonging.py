"""Whether what the forge shows is of the repository that a preview source is of.

Repositories are asked for by name, and a name may come to mean another one: after a renaming, or if one is deleted and
made anew. What that one shows says nothing of the previews of the first.
"""

from __future__ import annotations

from twin.domain.decider import Cause
from twin.domain.errors import Terminal
from twin.domain.identity import TWIN
from twin.domain.previews.names import source_id
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource, RepositorySeen
from twin.domain.pulls import Repository
from twin.ports.store import Store, Tx

REPLACED = "replaced"
"""What the trouble of a task is about that found another repository."""


class Replaced(Terminal):
    """What is called as the source's repository is another one. It is looked again, slowly: that may be undone."""


async def belongs(store: Store, source: PreviewSource, shown: Repository | None) -> None:
    """Have the source know its repository by what the forge has shown. Raises `Replaced` if it is another one."""
    if shown is None or shown == source.known:
        return
    given = RepositorySeen(repository=shown, generation=source.generation)

    def see(tx: Tx) -> PreviewSource:
        after: PreviewSource = tx.transition(PREVIEW_SOURCE.kind, source_id(source.name), given, Cause(TWIN)).after
        return after

    if source.known is None or source.known.id == shown.id:
        source = await store.transact(see)
    if source.known is not None and source.known.id != shown.id:
        raise Replaced(
            f"{shown.name} is another repository now than the one that preview source {source.name} was made for",
            mend="Give that one its name again; or remove the preview source and, once its previews are gone, "
            "configure it anew.",
        )

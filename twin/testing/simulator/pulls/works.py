"""What a process does for pull requests: the real errands and use cases, on the simulated forge."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from twin.domain.inbox import INBOX
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.engine.opened import OpenedForges
from twin.ports.changes import Changes
from twin.ports.errands import Errands
from twin.ports.targets import OpenTargets
from twin.ports.vault import Vault
from twin.service.component_logs import ComponentLogs
from twin.service.inbox_errands import InboxErrands
from twin.service.inboxes import Inboxes
from twin.service.previews.deploying import Deploying
from twin.service.previews.looking import Looking
from twin.service.previews.publishing import Publishing
from twin.service.previews.pull_errands import PullErrands
from twin.service.previews.source_errands import SourceErrands
from twin.service.previews.sources import PreviewSources
from twin.service.pull_news import PullNews
from twin.store import SqlStore
from twin.testing.blueprints import TYPES
from twin.testing.reading import read_here
from twin.testing.simulator.pulls.forge import SimulatedForge, SimulatedForgeKind
from twin.testing.simulator.pulls.mail import translate
from twin.testing.simulator.virtual_loop import SimulatedClock

GUARDED = {name: replace(type_, sandbox=True) for name, type_ in TYPES.items()}
"""So that strangers' commits have lives, too."""


class Works:
    """Bound as `api.bootstrap` binds them. The sandbox is one that keeps strangers' code from the rest."""

    def __init__(
        self,
        store: SqlStore,
        forge: SimulatedForge,
        targets: OpenTargets,
        vault: Vault,
        changes: Changes,
        clock: SimulatedClock,
    ) -> None:
        kind = SimulatedForgeKind(forge)
        forges = OpenedForges(store, vault, {kind.name: kind})
        looking = Looking(store, forges, sandbox=True, read=read_here)
        deploying = Deploying(store, GUARDED, forges, changes, clock)
        publishing = Publishing(store, forges, ComponentLogs(store, targets))
        self.errands: Mapping[str, Errands] = {
            INBOX.kind: InboxErrands(store, forges, PullNews(store), {kind.name: translate}, changes, clock),
            PULL_REQUEST.kind: PullErrands(store, changes, looking, deploying, publishing),
            PREVIEW_SOURCE.kind: SourceErrands(store, forges, changes, clock),
        }
        self.inboxes = Inboxes(store, vault, changes)
        self.sources = PreviewSources(store, changes, frozenset({kind.name}))

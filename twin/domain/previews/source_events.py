"""What happened to a preview source: its history. Names and meanings stay for ever (`schema_v`)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from twin.domain.operations import BlockRaised
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.trouble import Trouble
from twin.domain.pulls import Repository


class Waiting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pull request that waits for a slot. `most`: how many may live at once by its own file."""

    pull: str
    at: datetime
    most: int | None = None


class SourceConfigured(Struct, frozen=True, kw_only=True, tag="source_configured", tag_field="type"):
    """The configuration is this now."""

    name: str
    config: SourceConfig
    generation: int


class SourceRemoved(Struct, frozen=True, kw_only=True, tag="source_removed", tag_field="type"):
    """There are no previews of it any more, as soon as all of them are gone."""

    generation: int


class SlotTaken(Struct, frozen=True, kw_only=True, tag="slot_taken", tag_field="type"):
    """A pull request has a slot. `waited`: it stood in the queue, so that it has to be told."""

    pull: str
    at: datetime
    waited: bool = False


class SlotAwaited(Struct, frozen=True, kw_only=True, tag="slot_awaited", tag_field="type"):
    """A pull request waits for a slot."""

    waiting: Waiting


class SlotLeft(Struct, frozen=True, kw_only=True, tag="slot_left", tag_field="type"):
    """A pull request has no slot any more, nor waits for one."""

    pull: str


class PullWoken(Struct, frozen=True, kw_only=True, tag="pull_woken", tag_field="type"):
    """A pull request was told that it has a slot."""

    pull: str


class SourceReconciled(Struct, frozen=True, kw_only=True, tag="source_reconciled", tag_field="type"):
    """What the forge lists was compared with what is known."""

    generation: int
    at: datetime
    mark: str | None = None
    listed: str | None = None


class RepositoryKnown(Struct, frozen=True, kw_only=True, tag="repository_known", tag_field="type"):
    """The repository was seen for the first time, or has another name."""

    repository: Repository


class SourceErrandFailed(Struct, frozen=True, kw_only=True, tag="source_errand_failed", tag_field="type"):
    """A task could not be done."""

    task: str
    trouble: Trouble


class SourceErrandsCleared(Struct, frozen=True, kw_only=True, tag="source_errands_cleared", tag_field="type"):
    """A block was resolved: what waited goes on."""

    tasks: tuple[str, ...]
    block: str


Event = (
    SourceConfigured
    | SourceRemoved
    | SlotTaken
    | SlotAwaited
    | SlotLeft
    | PullWoken
    | SourceReconciled
    | RepositoryKnown
    | SourceErrandFailed
    | SourceErrandsCleared
    | BlockRaised
)

"""What happened to a pull request: its history. Names and meanings stay for ever (`schema_v`)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from twin.domain.operations import BlockRaised
from twin.domain.previews.judging import Verdict
from twin.domain.previews.pull_request import Ended, Origin, Preview, Sink
from twin.domain.previews.trouble import Trouble
from twin.domain.pulls import Pull


class PullNoticed(Struct, frozen=True, kw_only=True, tag="pull_noticed", tag_field="type"):
    """The pull request was heard of for the first time."""

    id: str
    origin: Origin


class PullHinted(Struct, frozen=True, kw_only=True, tag="pull_hinted", tag_field="type"):
    """Something is said to have happened; look number `look` is wanted."""

    delivery: str
    what: str
    look: int


class PullLooked(Struct, frozen=True, kw_only=True, tag="pull_looked", tag_field="type"):
    """The forge showed the pull request like this."""

    look: int
    pull: Pull | None
    verdict: Verdict | None
    at: datetime


class SecondLookWanted(Struct, frozen=True, kw_only=True, tag="second_look_wanted", tag_field="type"):
    """Whether it really should have no preview is asked once more, after a while."""

    look: int


class CommandTaken(Struct, frozen=True, kw_only=True, tag="command_taken", tag_field="type"):
    """Somebody commanded something; `refusal` says why it was not done. `sha`: the commit that was allowed; `until`:
    what it was extended to."""

    comment: str
    command: str
    argument: str
    by: str
    at: datetime
    look: int
    text: str
    refusal: bool = False
    sha: str | None = None
    until: datetime | None = None
    logs: str | None = None


class SlotTold(Struct, frozen=True, kw_only=True, tag="slot_told", tag_field="type"):
    """Its slot is like this now: none, held, or so many wait before it."""

    held: bool
    ahead: int | None = None


class PreviewDeployed(Struct, frozen=True, kw_only=True, tag="preview_deployed", tag_field="type"):
    """The environment was asked to be at a commit, or (None) to be gone."""

    digest: str
    life: int
    sha: str | None
    environment: str | None
    at: datetime


class EnvironmentStirred(Struct, frozen=True, kw_only=True, tag="environment_stirred", tag_field="type"):
    """The environment changed; look number `news` at it is wanted."""

    environment: str
    news: int


class PreviewSeen(Struct, frozen=True, kw_only=True, tag="preview_seen", tag_field="type"):
    """The environment was seen like this; None: there is none."""

    news: int
    environment: Preview | None


class PreviewEnded(Struct, frozen=True, kw_only=True, tag="preview_ended", tag_field="type"):
    """There is to be no environment from now on, although the pull request is open."""

    ended: Ended


class PublishingBegun(Struct, frozen=True, kw_only=True, tag="publishing_begun", tag_field="type"):
    """A sink is about to be told, for the `telling`th time; 0 where that was not counted yet."""

    sink: Sink
    digest: str
    telling: int = 0


class PreviewPublished(Struct, frozen=True, kw_only=True, tag="preview_published", tag_field="type"):
    """A sink was told, and with it the logs that the comment `asked` had asked for."""

    sink: Sink
    digest: str
    asked: str | None = None


class ErrandFailed(Struct, frozen=True, kw_only=True, tag="errand_failed", tag_field="type"):
    """A task could not be done."""

    task: str
    trouble: Trouble


class ErrandsCleared(Struct, frozen=True, kw_only=True, tag="errands_cleared", tag_field="type"):
    """What waited goes on, as a block was resolved or somebody asked for it."""

    tasks: tuple[str, ...]
    block: str | None = None


Event = (
    PullNoticed
    | PullHinted
    | PullLooked
    | SecondLookWanted
    | CommandTaken
    | SlotTold
    | PreviewDeployed
    | EnvironmentStirred
    | PreviewSeen
    | PreviewEnded
    | PublishingBegun
    | PreviewPublished
    | ErrandFailed
    | ErrandsCleared
    | BlockRaised
)

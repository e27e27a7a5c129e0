"""What a pull request can be told."""

from __future__ import annotations

from msgspec import Struct

from twin.domain.following import FollowedChanged
from twin.domain.previews.judging import Verdict
from twin.domain.previews.pull_request import Origin, Preview, Sink, Wish
from twin.domain.previews.trouble import TaskFailed
from twin.domain.pulls import Permission, Pull
from twin.domain.steps import FireTimer, LiftBlock


class Hint(Struct, frozen=True, kw_only=True):
    """Something may have happened at the forge: look. `delivery` is its id, taken once; `what`, for people, what is
    said to have happened (`pull_request.closed`, `reconciliation`)."""

    origin: Origin
    delivery: str
    what: str


class Looked(Struct, frozen=True, kw_only=True):
    """The forge's answer to a look: whoever asked had read `look` as `PullRequest.wanted` before.

    `pull` None: the positive answer that it is not there. `verdict`: of the source's configuration, on one that is
    open. `failed`: why the forge did not give what is in its commit; the verdict says so, and it is asked again.
    """

    look: int
    pull: Pull | None
    verdict: Verdict | None = None
    failed: TaskFailed | None = None


class CommandGiven(Struct, frozen=True, kw_only=True):
    """Somebody wrote a command under the pull request. `comment`: the comment's id, taken once; `permission`: theirs;
    `sha`: the head commit as whoever read the comment knew it."""

    origin: Origin
    comment: str
    command: str
    argument: str
    by: str
    permission: Permission
    sha: str | None = None


class SlotGranted(Struct, frozen=True):
    """The source has a slot for it. Given in one transaction with the source's own change."""


class SlotQueued(Struct, frozen=True):
    """All slots are taken; so many wait before it. In one transaction with the source's own change."""

    ahead: int


class SlotFreed(Struct, frozen=True):
    """It has no slot any more, nor waits for one. In one transaction with the source's own change."""


class Deployed(Struct, frozen=True, kw_only=True):
    """The environment was asked to be as wished: it need not be so yet. `environment`: its id, if there is one.

    Whoever asks it must, in the transaction that does so, find `wish(state)` to be this one still.
    """

    wish: Wish
    environment: str | None = None


class EnvironmentIs(Struct, frozen=True, kw_only=True):
    """How the environment of the pull request's name is now, None if there never was one: whoever looked had read
    `news` as `PullRequest.news` before."""

    news: int
    environment: Preview | None


class Publishing(Struct, frozen=True, kw_only=True):
    """A sink is about to be told this: given, and committed, before the call. What it shows is not known until
    `Published` comes, so that nothing which is said meanwhile passes for said already."""

    sink: Sink
    digest: str


class Published(Struct, frozen=True, kw_only=True):
    """A sink has what `Publication.digest` names. `telling`: the number that `PullRequest.tellings` had when that was
    begun; if it was begun anew since, nobody knows which of the two came last. `asked`: `Publication.asked`."""

    sink: Sink
    digest: str
    telling: int = 0
    asked: str | None = None


Input = (
    Hint
    | Looked
    | CommandGiven
    | SlotGranted
    | SlotQueued
    | SlotFreed
    | Deployed
    | EnvironmentIs
    | FollowedChanged
    | Publishing
    | Published
    | TaskFailed
    | LiftBlock
    | FireTimer
)

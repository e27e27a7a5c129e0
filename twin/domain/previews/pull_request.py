"""The state of a pull request: frozen values, a fold of its events."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from twin.domain.digest import digest
from twin.domain.environment import Status
from twin.domain.previews.judging import Recipe, Verdict
from twin.domain.previews.trouble import Trouble
from twin.domain.pulls import Pull

Sink = Literal["comment", "status", "deployment"]
SINKS: tuple[Sink, ...] = ("comment", "status", "deployment")

UNSURE = ""
"""The digest of what a sink shows while it is being told, and after that was not seen to succeed."""

MOST_HEARD = 64
"""So many deliveries are remembered, and so many comments. A delivery that comes again later costs a look and changes
nothing; a comment is never taken again."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a pull request is. `source`: the name of its preview source, `forge`: the target."""

    source: str
    forge: str
    repository: str
    number: int
    project: str


class Allowed(Struct, frozen=True, kw_only=True):
    """The one commit of a fork that may run, and who said so."""

    sha: str
    by: str
    at: datetime


class Ended(Struct, frozen=True, kw_only=True):
    """Why there is no environment although the pull request is open: until `/twin redeploy`, or until it is reopened.

    gone: it was destroyed, or its time was over, without this pull request asking for it. idle: nobody pushed or
    commanded anything for `idle_ttl`. destroyed: by `/twin destroy`.
    """

    why: Literal["gone", "idle", "destroyed"]
    at: datetime
    by: str | None = None


class Done(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The wish that was carried out last. `sha` None: away."""

    digest: str
    life: int
    at: datetime
    sha: str | None = None
    environment: str | None = None


class Preview(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The environment as it was last seen. `sha`: the commit that it is to show; it does when `status` is ready.

    `leaving`: its destruction is desired. `waits_for`: who or what is waited for, in words. `plan`: what is left to
    do, in short. `certified_at`: when it was proven gone.
    """

    id: str
    status: Status
    name: str = ""
    sha: str | None = None
    url: str | None = None
    leaving: bool = False
    plan: tuple[str, ...] = ()
    problem: str | None = None
    waits_for: str | None = None
    mend: str | None = None
    expires_at: datetime | None = None
    certified_at: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether anything of it may be left."""
        return self.status != "destroyed"

    @property
    def going(self) -> bool:
        """Whether it is on its way out."""
        return self.alive and (self.leaving or self.status == "destroying")


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said to whoever gave the last command. `logs`: the component whose last lines are to be
    shown, once."""

    comment: str
    by: str
    command: str
    text: str
    ok: bool
    at: datetime
    logs: str | None = None


class Wish(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the environment should be: a level, of which only the latest counts. `sha` None: gone.

    `life` counts how often it was to be gone, `turn` how often somebody asked to have it deployed anew. `until`: it
    lives at least so long. `protected`: time does not end it, nor does a command.
    """

    life: int
    sha: str | None = None
    turn: int = 0
    recipe: Recipe | None = None
    until: datetime | None = None
    protected: bool = False

    @property
    def digest(self) -> str:
        """Names it."""
        return digest(self)


class PullRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pull request and its preview. Only `evolve` makes the next one.

    `wanted` and `looked` number the looks at the forge: the last that is wanted, the last that was answered. `gone`:
    the forge says that there is no such pull request. `leaving_since`: when an answer said first that it should have
    no preview; `second`: the look whose answer makes that sure, `sure`: that it did. `offered`: the life in which a
    deployment may have begun. `news` and `seen` number the looks at the environment in the same way. `heard`: the
    deliveries and comments that were taken, as `twin.domain.previews.hearing` keeps them. `tellings` counts how often
    each sink was begun to be told.
    """

    id: str
    origin: Origin
    wanted: int = 0
    looked: int = 0
    heard: tuple[str, ...] = ()
    pull: Pull | None = None
    gone: bool = False
    verdict: Verdict | None = None
    leaving_since: datetime | None = None
    second: int | None = None
    sure: bool = False
    life: int = 0
    offered: int = -1
    turn: int = 0
    until: datetime | None = None
    protected: bool = False
    ended: Ended | None = None
    allowed: Allowed | None = None
    slot: Literal["none", "queued", "held"] = "none"
    ahead: int = 0
    done: Done | None = None
    environment: Preview | None = None
    news: int = 0
    seen: int = 0
    answer: Answer | None = None
    published: dict[str, str] = field(default_factory=dict)
    tellings: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    active_at: datetime | None = None

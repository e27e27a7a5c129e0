"""Stories of previews for `write.py`. They end while everything is still to be published: words may change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from twin.domain.decider import Cause, Context, transition
from twin.domain.errors import Blocked, Transient
from twin.domain.following import FollowedChanged
from twin.domain.identity import TWIN
from twin.domain.previews.config import CloneFrom, SourceConfig
from twin.domain.previews.inputs import (
    CommandGiven,
    Deployed,
    EnvironmentIs,
    Hint,
    Looked,
    Published,
    Publishing,
    SlotFreed,
    SlotGranted,
    SlotQueued,
)
from twin.domain.previews.judging import judge
from twin.domain.previews.pull_request import Origin, Preview, PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import (
    PREVIEW_SOURCE,
    Configure,
    FreeSlot,
    Reconciled,
    RemoveSource,
    RepositorySeen,
    TakeSlot,
    Woken,
)
from twin.domain.previews.standing import wish
from twin.domain.previews.trouble import task_failed
from twin.domain.pulls import Pull, Repository
from twin.domain.steps import FireTimer, LiftBlock
from twin.testing.story import START

CONFIG = SourceConfig(
    forge="github/main",
    repository="shop/web",
    project="shop",
    blueprint="guestbook@1.0.0",
    inputs={"greeting": "pull ${pr.number} of ${pr.branch}"},
    repository_inputs=("greeting",),
    ttl=86_400.0,
    idle_ttl=7_200.0,
    paths=("src/**",),
    needed_labels=("preview",),
    excluded_labels=("wip",),
    max_live=1,
    forks="allow",
)
ORIGIN = Origin(source="web", forge="github/main", repository="shop/web", number=42, project="shop")
PULL = Pull(
    repository="shop/web",
    number=42,
    state="open",
    draft=False,
    title="A blue button",
    author="eve",
    head_sha="a" * 40,
    head_branch="feature/Blue",
    head_repository="eve/web",
    base_branch="main",
    labels=("preview",),
    url="https://forge.example/shop/web/pulls/42",
    updated_at=START,
)
VERDICT = judge(CONFIG, PULL, paths=("src/app.py",), sandbox=True)


def _told(decider: Any, given: Any) -> tuple[Any, list[Any]]:
    """The history of inputs, each with its hour. One may be a function of the state."""
    state, events = None, []
    for hours, each in given:
        now = START + timedelta(hours=hours)
        context = Context(now=now, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
        state, new = transition(decider, state, each(state) if callable(each) else each, context)
        events += new
    return state, events


def a_fork_s_life() -> tuple[Any, list[Any]]:
    """Allowed, queued, deployed, idle, deployed anew, closed; its environment goes."""

    def said(number: int, command: str, argument: str = "", permission: Any = "write") -> CommandGiven:
        return CommandGiven(
            origin=ORIGIN,
            comment=str(number),
            command=command,
            argument=argument,
            by="ada",
            permission=permission,
            sha=PULL.head_sha,
        )

    def seen(status: Any, **fields: Any) -> Any:
        env = Preview(id="env_1", name="pr-42", status=status, sha=PULL.head_sha, **fields)
        return lambda state: EnvironmentIs(news=state.news, environment=env)

    def deployed(state: PullRequest) -> Deployed:
        wished = wish(state)
        assert wished is not None
        return Deployed(wish=wished, environment="env_1")

    merged = replace(PULL, state="merged")
    return _told(
        PULL_REQUEST,
        [
            (0, Hint(origin=ORIGIN, delivery="1", what="pull_request.opened")),
            (0, task_failed("look", Transient("no answer"))),
            (0, task_failed("look", Blocked("no token", key="github/main/token", mend="give one"))),
            (0, LiftBlock("github/main/token")),
            (0, Looked(look=1, pull=PULL, verdict=VERDICT)),
            (0, said(1, "allow", permission="read")),
            (0, said(2, "allow", "aaaaaaa")),
            (0, SlotQueued(2)),
            (1, SlotGranted()),
            (1, deployed),
            (1, FollowedChanged(environment="env_1")),
            (1, seen("ready", url="http://pr-42--app.localhost/", expires_at=START + timedelta(days=1))),
            (1, said(3, "extend", "2h")),
            (1, said(4, "logs", "app")),
            (1, lambda state: Looked(look=state.wanted, pull=PULL, verdict=VERDICT)),
            (1, Published(sink="comment", digest="a-digest-of-then")),
            (4, FireTimer("idle")),
            (4, said(5, "redeploy")),
            (4, deployed),
            (4, said(6, "protect")),
            (4, lambda state: Looked(look=state.wanted, pull=merged)),
            (5, FireTimer("second")),
            (5, lambda state: Looked(look=state.wanted, pull=merged)),
            (5, deployed),
            (5, seen("destroyed", certified_at=START + timedelta(hours=5))),
            (5, SlotFreed()),
        ],
    )


def a_comment_on_its_way() -> tuple[Any, list[Any]]:
    """A worker is about to publish, and has not said that it did."""
    return _told(
        PULL_REQUEST,
        [
            (0, Hint(origin=ORIGIN, delivery="1", what="pull_request.opened")),
            (0, Looked(look=1, pull=PULL, verdict=VERDICT)),
            (0, Publishing(sink="comment", digest="a-digest-of-then")),
        ],
    )


def a_source_s_slots() -> tuple[Any, list[Any]]:
    """One slot, two who want it; another configuration; removed while one lives."""
    other = SourceConfig(
        forge="github/main",
        repository="shop/web",
        project="shop",
        clone_from=CloneFrom(environment="shop/staging", data="masked"),
    )
    return _told(
        PREVIEW_SOURCE,
        [
            (0, Configure(name="web", config=CONFIG)),
            (0, Reconciled(generation=1, mark="etag-1")),
            (1, TakeSlot(pull="pr_web_1")),
            (1, TakeSlot(pull="pr_web_2", most=1)),
            (2, FreeSlot("pr_web_1")),
            (2, Woken("pr_web_2")),
            (2, task_failed("reconcile", Blocked("no token", key="github/main/token", mend="give one"))),
            (2, LiftBlock("github/main/token")),
            (3, Configure(name="web", config=other)),
            (3, TakeSlot(pull="pr_web_3", most=1)),
            (4, FreeSlot("pr_web_2")),
            (5, RemoveSource()),
        ],
    )


def a_source_whose_repository_is_renamed() -> tuple[Any, list[Any]]:
    """Seen, renamed, and its name taken by another one, which changes nothing."""
    return _told(
        PREVIEW_SOURCE,
        [
            (0, Configure(name="web", config=CONFIG)),
            (1, RepositorySeen(repository=Repository(id=7, name="shop/web"), generation=1)),
            (2, RepositorySeen(repository=Repository(id=7, name="shop/site"), generation=1)),
            (3, RepositorySeen(repository=Repository(id=8, name="shop/web"), generation=1)),
        ],
    )


PREVIEW_STORIES: dict[str, Any] = {
    "pull_request/a-fork-s-life": (PULL_REQUEST, a_fork_s_life),
    "pull_request/a-comment-on-its-way": (PULL_REQUEST, a_comment_on_its_way),
    "preview_source/a-source-s-slots": (PREVIEW_SOURCE, a_source_s_slots),
    "preview_source/a-renamed-repository": (PREVIEW_SOURCE, a_source_whose_repository_is_renamed),
}

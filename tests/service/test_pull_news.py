"""From a delivery to the pull requests of each preview source: hints, and commands bound to what was there then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from api.webhooks.forms import FORMS
from tests.api.webhooks.hooks import GITHUB, bytes_of, comment, pull_request
from twin.domain.decider import Cause
from twin.domain.deciders import DECIDERS
from twin.domain.identity import TWIN
from twin.domain.inbox import INBOX, inbox_id
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.inputs import Looked
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, Configure, RepositorySeen
from twin.domain.pulls import Permission, Pull, Repository
from twin.ports.forge import Comment
from twin.ports.store import Claimed, EventFilter, Recorded
from twin.service.changes import LocalChanges
from twin.service.inbox_errands import InboxErrands
from twin.service.inboxes import Delivered, Inboxes
from twin.service.pull_news import PullNews
from twin.store import SqlStore, open_store
from twin.testing.virtual_clock import VirtualClock
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

SEEN, PUSHED = "a" * 40, "b" * 40


class Forge:
    """Everybody may write."""

    def __init__(self) -> None:
        self.comments: dict[tuple[int, int], Comment] = {}
        self.repositories = {"ada/shop": Repository(id=7, name="ada/shop")}

    async def repository(self, repository: str) -> Repository:
        return self.repositories[repository]

    async def comment(self, repository: str, number: int, comment: int) -> Comment | None:
        return self.comments.get((number, comment))

    def clone_url(self, repository: str) -> str:
        return f"https://github.com/{repository}.git"

    async def permission(self, repository: str, login: str) -> Permission:
        return "write"


class Forges:
    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    async def forge(self, target: str, project: str | None = None) -> Any:
        return self._forge

    async def close(self) -> None:
        """Nothing is open."""


class Setting:
    """A repository, its inbox, and the preview sources that name it."""

    def __init__(self, store: SqlStore, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        changes = LocalChanges()
        self.inboxes = Inboxes(store, AeadVault([Key(bytes(32))]), changes)
        translations = {kind: form.translate for kind, form in FORMS.items()}
        self.forge = Forge()
        self.errands = InboxErrands(store, Forges(self.forge), PullNews(store), translations, changes, clock)
        self._delivered = 0

    async def configure(self, name: str, repository: str = "ada/shop", forge: str = GITHUB, **more: Any) -> None:
        config = SourceConfig(forge=forge, repository=repository, project="shop", blueprint="guestbook", **more)
        given = Configure(name=name, config=config)
        await self.store.transact(lambda tx: tx.transition(PREVIEW_SOURCE.kind, f"src_{name}", given, Cause(TWIN)))

    async def know(self, name: str, repository: str) -> None:
        """The forge has shown the source's repository like this."""
        given = RepositorySeen(repository=Repository(id=7, name=repository), generation=1)
        await self.store.transact(lambda tx: tx.transition(PREVIEW_SOURCE.kind, f"src_{name}", given, Cause(TWIN)))

    async def deliver(self, payload: dict[str, Any], event: str = "pull_request") -> str:
        self._delivered += 1
        name = f"delivery-{self._delivered}"
        self.clock.advance(1)
        delivered = Delivered(target=GITHUB, id=name, event=event, headers={}, body=bytes_of(payload))
        assert await self.inboxes.take(delivered)
        return name

    async def say(self, text: str) -> str:
        """Somebody comments, and it is delivered."""
        told = comment(text)
        self.write(told)
        return await self.deliver(told, "issue_comment")

    def write(self, told: dict[str, Any]) -> None:
        """The comment is at the forge, as it will be told of."""
        given = told["comment"]
        written = Comment(author=given["user"]["login"], body=given["body"], at=self.clock.now())
        self.forge.comments[told["issue"]["number"], given["id"]] = written

    async def work(self) -> None:
        self.clock.advance(1)
        task = Claimed(
            entity_kind=INBOX.kind, entity=inbox_id(GITHUB), kind="step", key="deliveries", queue="", epoch=1
        )
        told = await self.errands.run(task)
        await self.store.transact(lambda tx: tx.transition(INBOX.kind, task.entity, told, Cause(TWIN)))

    async def pull(self, entity: str = "pr_web_42") -> PullRequest | None:
        row = await self.store.entity(PULL_REQUEST.kind, entity)
        return row.state if row is not None else None

    async def look(self, sha: str) -> None:
        """The forge answers that a fork's pull request has this commit now."""
        self.clock.advance(1)
        pull = await self.pull()
        assert pull is not None
        assert pull.wanted > pull.looked
        given = Looked(look=pull.wanted, pull=shown(sha, self.clock.now()))
        await self.store.transact(lambda tx: tx.transition(PULL_REQUEST.kind, "pr_web_42", given, Cause(TWIN)))

    async def events(self, entity: str) -> list[Recorded]:
        return list((await self.store.events(EventFilter(entity=entity))).items)

    async def why(self) -> list[tuple[str, str]]:
        page = await self.store.events(EventFilter(entity=inbox_id(GITHUB), type="delivery_handled"))
        return [(each.event.outcome, each.event.why) for each in page.items]


def shown(sha: str, at: datetime) -> Pull:
    return Pull(
        repository="ada/shop",
        number=42,
        state="open",
        draft=False,
        title="Sell more",
        author="eve",
        head_sha=sha,
        head_branch="more",
        head_repository="eve/shop",
        base_branch="main",
        labels=(),
        url="https://github.com/ada/shop/pull/42",
        updated_at=at,
    )


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    clock = VirtualClock(0)
    store = open_store("sqlite://", deciders=DECIDERS, clock=clock, inline=True)
    made = Setting(store, clock)
    await made.configure("web", forks="allow")
    yield made
    await store.close()


async def test_news_are_a_hint_to_the_pull_request_of_each_source_under_the_delivery_s_id(setting: Setting) -> None:
    await setting.configure("api")
    await setting.configure("elsewhere", repository="ada/other")
    await setting.configure("mirror", forge="gitea/main")
    delivery = await setting.deliver(pull_request(action="closed"))
    await setting.work()
    for source in ("web", "api"):
        noticed, hinted = await setting.events(f"pr_{source}_42")
        assert (noticed.type, noticed.event.origin.project) == ("pull_noticed", "shop")
        assert (hinted.type, hinted.event.delivery, hinted.event.what) == (
            "pull_hinted",
            delivery,
            "pull_request.closed",
        )
        assert hinted.request_id == noticed.request_id == delivery
        assert str(hinted.actor) == "pull_request:ada/shop#42"
    page = await setting.store.entities(PULL_REQUEST.kind)
    assert len(page.items) == 2, "and to no other"


async def test_a_repository_is_the_same_in_capitals(setting: Setting) -> None:
    await setting.deliver(pull_request(repository="Ada/SHOP"))
    await setting.work()
    pull = await setting.pull()
    assert pull is not None
    assert pull.origin.repository == "ada/shop", "as it is configured"


async def test_nothing_of_the_payload_but_where_it_was_is_believed(setting: Setting) -> None:
    """It says that it is merged, from a member's branch, at some commit: the forge will be asked."""
    told = pull_request(action="closed")
    told["pull_request"] |= {
        "merged": True,
        "state": "closed",
        "head": {"sha": PUSHED, "ref": "../../x; rm -rf", "repo": {"full_name": "ada/shop"}},
    }
    await setting.deliver(told)
    await setting.work()
    pull = await setting.pull()
    assert pull is not None
    assert (pull.pull, pull.wanted, pull.looked) == (None, 1, 0)
    assert b"rm -rf" not in b"".join([each.body for each in await setting.events("pr_web_42")])


async def test_a_command_is_given_with_its_author_and_taken_once(setting: Setting) -> None:
    for _ in range(2):  # the same comment under two ids: somebody replays what was signed once
        await setting.say("/twin redeploy\r\nplease")
        await setting.work()
    taken = [each for each in await setting.events("pr_web_42") if each.type == "command_taken"]
    assert len(taken) == 1
    assert (taken[0].event.command, taken[0].event.by, taken[0].event.comment) == ("redeploy", "ada", "99")
    assert str(taken[0].actor) == "person:ada"
    assert taken[0].request_id == "delivery-1"


async def test_a_command_that_nobody_wrote_commands_nothing_in_whosever_name_it_is_signed(setting: Setting) -> None:
    """The secret is the forge's: whoever sets up the webhook of one repository can sign for all."""
    lie = comment("/twin destroy", author="the-boss")
    await setting.deliver(lie, "issue_comment")
    await setting.work()
    assert await setting.pull() is None
    setting.write(comment("/twin status", author="eve"))
    await setting.deliver(lie, "issue_comment")
    await setting.work()
    (none, given) = await setting.why()
    assert none == ("ignored", "the forge has no comment 99 of anybody there")
    assert given == ("given", "eve wrote '/twin status' on ada/shop#42")
    (taken,) = [each for each in await setting.events("pr_web_42") if each.type == "command_taken"]
    assert (taken.event.command, taken.event.by, str(taken.actor)) == ("status", "eve", "person:eve")


@pytest.mark.parametrize(("pushed_before_it_is_read", "allowed"), [(False, SEEN), (True, None)])
async def test_allowing_a_fork_is_bound_to_the_commit_that_was_there_when_it_was_said(
    setting: Setting, pushed_before_it_is_read: bool, allowed: str | None
) -> None:
    await setting.deliver(pull_request())
    await setting.work()
    await setting.look(SEEN)
    await setting.say("/twin allow")
    if pushed_before_it_is_read:
        await setting.deliver(pull_request(action="synchronize"))
        hint = await setting.store.undone(GITHUB, limit=9)
        await setting.errands._try_all(inbox_id(GITHUB), GITHUB, hint[-1:], None)  # it overtakes the comment
        await setting.look(PUSHED)
    await setting.work()
    pull = await setting.pull()
    assert pull is not None
    assert (pull.allowed.sha if pull.allowed is not None else None) == allowed
    if allowed is not None:
        await setting.deliver(pull_request(action="synchronize"))
        await setting.work()
        await setting.look(PUSHED)
        pull = await setting.pull()
        assert pull is not None
        assert pull.allowed is None or pull.allowed.sha == SEEN, "what is pushed after it needs leave of its own"


async def test_a_leave_that_is_delivered_late_is_not_of_what_was_pushed_on_its_way(setting: Setting) -> None:
    """Whoever said it saw the commit before."""
    await setting.deliver(pull_request())
    await setting.work()
    await setting.look(SEEN)
    said = comment("/twin allow")
    setting.write(said)
    await setting.deliver(pull_request(action="synchronize"))
    await setting.work()
    await setting.look(PUSHED)
    await setting.deliver(said, "issue_comment")
    await setting.work()
    pull = await setting.pull()
    assert pull is not None
    assert pull.answer is not None
    assert pull.allowed is None
    assert f"its last commit is {PUSHED[:12]} by now" in pull.answer.text


async def test_a_payload_of_another_host_or_repository_reaches_no_pull_request(setting: Setting) -> None:
    await setting.deliver(pull_request(host="evil.example"))
    await setting.deliver(pull_request(repository="eve/shop"))
    await setting.deliver(comment("/twin destroy", host="evil.example"), "issue_comment")
    await setting.work()
    assert (await setting.store.entities(PULL_REQUEST.kind, live=False)).items == ()
    assert [outcome for outcome, _ in await setting.why()] == ["ignored"] * 3
    assert "evil.example" in (await setting.why())[0][1]
    assert "eve/shop" in (await setting.why())[1][1]


async def test_however_much_is_delivered_of_a_pull_request_is_one_look(setting: Setting) -> None:
    """Hints are levels: however many come, the forge is asked once for all of them."""
    for _ in range(30):
        await setting.deliver(pull_request(action="labeled"))
    await setting.work()
    pull = await setting.pull()
    assert pull is not None
    assert (pull.wanted, pull.looked) == (30, 0)
    assert len([task for task in PULL_REQUEST.next_tasks(pull) if task.key == "look"]) == 1


async def test_a_repository_is_known_by_its_id_once_that_was_seen(setting: Setting) -> None:
    await setting.know("web", "ada/shop")
    await setting.configure("unseen", repository="ada/site")
    forge = setting.forge.repositories
    forge |= {"ada/site": Repository(id=7, name="ada/site"), "ada/shop": Repository(id=8, name="ada/shop")}
    await setting.deliver(pull_request(repository="ada/site"))
    await setting.work()
    assert await setting.pull() is not None, "it was renamed"
    (*_, told) = await setting.events("src_web")
    assert (told.type, told.event.repository) == ("repository_known", Repository(id=7, name="ada/site"))
    assert await setting.pull("pr_unseen_42") is not None, "nothing but its name is known"
    await setting.deliver(pull_request(43, repository_id=8))
    await setting.deliver(comment("/twin destroy", 43, repository_id=8), "issue_comment")
    await setting.work()
    assert await setting.pull("pr_web_43") is None, "another repository has its old name"
    assert [why for outcome, why in await setting.why() if outcome == "ignored"] == [
        "no preview source names ada/shop",
        "no preview source names ada/shop",
    ]


@pytest.mark.parametrize("repository", ["eve/own", "ada/shop"])
async def test_the_id_in_a_delivery_is_not_believed_where_it_counts(setting: Setting, repository: str) -> None:
    """Who may sign deliveries of one repository signs some of another, which has the source's name or its own."""
    await setting.know("web", "ada/shop")
    setting.forge.repositories[repository] = Repository(id=8, name=repository)
    await setting.deliver(comment("/twin destroy", repository=repository), "issue_comment")
    await setting.work()
    if repository != "ada/shop":
        await setting.deliver(pull_request(repository=repository))
        await setting.work()
    assert await setting.pull() is None
    assert [each.type for each in await setting.events("src_web")] == ["source_configured", "repository_known"]
    assert {why for _, why in await setting.why()} == {f"no preview source names {repository}"}

"""Doing what was delivered: each once, whatever fails, dies or waits between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from twin.domain.decider import Cause
from twin.domain.deciders import DECIDERS
from twin.domain.errors import Blocked, Rejected, Terminal, Transient
from twin.domain.identity import TWIN
from twin.domain.inbox import INBOX, KEPT, Inbox, inbox_id
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.source import PreviewSource
from twin.domain.pulls import Permission
from twin.engine.execute import Executor
from twin.ports.deliveries import Comment, News, Nothing
from twin.ports.forge import Comment as Written
from twin.ports.store import Claimed, EventFilter, Recorded, StoredDelivery, Tx
from twin.service.changes import LocalChanges
from twin.service.history import event_view
from twin.service.inbox_errands import InboxErrands, Telling
from twin.service.inboxes import Delivered, Inboxes
from twin.store import SqlStore, open_store
from twin.testing.counter import KIND, Add, Count, Counter, Open
from twin.testing.virtual_clock import VirtualClock
from twin.testing.world import World, open_world

FORGE = "github/main"
INBOX_OF_IT = inbox_id(FORGE)
START = datetime(2026, 1, 1, tzinfo=UTC)


class TalkingForge:
    """A forge that is asked for comments and permissions, and knows where it is."""

    def __init__(self) -> None:
        self.comments: dict[tuple[str, int, int], Written] = {}
        self.silent: Exception | None = None
        self.answers: list[Exception | Permission] = []
        self.asked: list[tuple[str, str]] = []
        self.thinking: tuple[asyncio.Event, asyncio.Event] | None = None

    def clone_url(self, repository: str) -> str:
        return f"https://user@forge.test:3000/{repository}.git"

    async def comment(self, repository: str, number: int, comment: int) -> Written | None:
        if self.silent is not None:
            raise self.silent
        return self.comments.get((repository, number, comment))

    async def permission(self, repository: str, login: str) -> Permission:
        self.asked.append((repository, login))
        if self.thinking is not None:
            asked, answer = self.thinking
            asked.set()
            await answer.wait()
        answer: Exception | Permission = self.answers.pop(0) if self.answers else "write"
        if isinstance(answer, Exception):
            raise answer
        return answer


class Forges:
    def __init__(self, forge: TalkingForge) -> None:
        self._forge = forge
        self.missing: Blocked | None = None
        self.limits: Blocked | None = None

    async def forge(self, target: str, project: str | None = None) -> Any:
        assert target == FORGE
        if self.missing is not None:
            raise self.missing
        if project is not None and self.limits is not None:
            raise self.limits
        return self._forge

    async def close(self) -> None:
        """Nothing is open."""


class CountingPulls:
    """Each pull request is a counter of what it was told: one for a hint, a hundred for a command."""

    def __init__(self) -> None:
        self.names = ["shop"]
        self.looked = 0
        self.refuses: Exception | None = None
        self.broken: dict[int, Exception] = {}
        self.commands: list[tuple[str, Permission]] = []

    async def sources(self, forge: str, repository: str, repository_id: int | None) -> Sequence[PreviewSource]:
        self.looked += 1
        config = SourceConfig(forge=forge, repository=repository, project="shop", blueprint="guestbook")
        return [PreviewSource(name=each, config=config) for each in self.names if repository == "ada/shop"]

    async def told(
        self, sources: Sequence[PreviewSource], delivery: StoredDelivery, news: News, permission: Permission
    ) -> tuple[Telling, ...]:
        if isinstance(self.refuses, Terminal):
            raise self.refuses
        if news.comment is not None:
            self.commands.append((news.comment.text, permission))

        def telling(source: str) -> Telling:
            entity = f"pr_{source}_{news.number}"

            def tell(tx: Tx) -> None:
                if tx.state(KIND, entity) is None:
                    tx.transition(KIND, entity, Open(source, str(news.number)), Cause(TWIN, delivery.id))
                tx.transition(KIND, entity, Add(1 if news.comment is None else 100), Cause(TWIN, delivery.id))
                if (refuses := self.broken.get(news.number, self.refuses)) is not None:
                    raise refuses

            return Telling(KIND, entity, tell)

        return tuple(telling(each.name) for each in sources)


def translate(event: str, headers: Mapping[str, str], body: bytes) -> News | Nothing:
    """The test's own forge writes `{"number": 1}`, and may add a host, a repository, a comment."""
    if event == "ping":
        return Nothing("of no use")
    told = json.loads(body)  # what is no JSON is a fault of ours here, on purpose
    comment = Comment(id=str(told["id"]), author="ada", text=told["comment"]) if "comment" in told else None
    return News(
        what=event,
        hosts=(told.get("host", "forge.test:3000"),),
        repository=told.get("repository", "ada/shop"),
        number=told["number"],
        comment=comment,
    )


class Mail:
    """One forge's inbox, and the workers that do its errands."""

    def __init__(self, store: SqlStore, clock: VirtualClock, world: World) -> None:
        self.store = store
        self.clock = clock
        self.world = world
        self.forge = TalkingForge()
        self.forges = Forges(self.forge)
        self.pulls = CountingPulls()
        self._comments = 0
        changes = LocalChanges()
        self.inboxes = Inboxes(store, world.vault, changes)
        self.errands = InboxErrands(store, self.forges, self.pulls, {"github": translate}, changes, clock)

    def executor(self, worker: str) -> Executor:
        return Executor(
            worker=worker,
            store=self.store,
            types={},
            targets=self.world.targets,
            vault=self.world.vault,
            changes=LocalChanges(),
            clock=self.clock,
            errands={INBOX.kind: self.errands},
        )

    async def deliver(self, name: str, body: bytes | None = None, event: str = "pull_request", **told: Any) -> bool:
        told = {"number": 1, "id": 9} | told
        content = json.dumps(told).encode() if body is None else body
        return await self.inboxes.take(Delivered(target=FORGE, id=name, event=event, headers={}, body=content))

    async def command(self, name: str, text: str, **told: Any) -> bool:
        """Somebody writes it, and it is delivered."""
        told = {"number": 1, "author": "ada"} | told
        self._comments += 1
        written = Written(author=told["author"], body=text, at=self.clock.now())
        self.forge.comments["ada/shop", told["number"], self._comments] = written
        return await self.deliver(name, event="issue_comment", comment=text, id=self._comments, **told)

    async def claim(self, worker: str = "w1") -> Claimed | None:
        found = await self.store.claim(worker, {f"inbox/{FORGE}": 1}, 1)
        return found[0] if found else None

    async def work(self) -> None:
        """Do all that is due now."""
        for _ in range(20):
            if (task := await self.claim()) is None:
                return
            await self.executor("w1").step(task)
        raise AssertionError("it does not come to rest")

    async def wait(self) -> None:
        """Let time pass until something is due, and do it."""
        due = await self.store.next_due()
        assert due is not None
        assert due > self.clock.now(), "it waits, and does not spin"
        self.clock.move_to(due)
        await self.work()

    async def inbox(self) -> Inbox:
        row = await self.store.entity(INBOX.kind, INBOX_OF_IT)
        assert row is not None
        state: Inbox = row.state
        return state

    async def count(self, pull: str = "pr_shop_1") -> int:
        row = await self.store.entity(KIND, pull)
        state: Count | None = row.state if row is not None else None
        return state.total if state is not None else 0

    async def handled(self) -> dict[str, tuple[str, str]]:
        """What came of each delivery, as the history has it."""
        page = await self.store.events(EventFilter(entity=INBOX_OF_IT, type="delivery_handled"), limit=500)
        assert all(each.request_id == each.event.delivery for each in page.items)
        return {each.event.delivery: (each.event.outcome, each.event.why) for each in page.items}

    async def of(self, delivery: str) -> list[Recorded]:
        return list((await self.store.events(EventFilter(correlation=delivery))).items)


@pytest.fixture
async def mail() -> AsyncIterator[Mail]:
    clock = VirtualClock(0)
    store = open_store("sqlite://", deciders={**DECIDERS, KIND: Counter()}, clock=clock, inline=True)
    async with open_world() as world:
        for worker in ("w1", "w2"):
            await store.register(worker, "here", 1)
        yield Mail(store, clock, world)
    await store.close()


async def test_news_become_hints_and_the_history_tells_the_whole_way(mail: Mail) -> None:
    mail.pulls.names = ["shop", "other"]
    assert await mail.deliver("d1")
    assert not await mail.deliver("d1"), "it came again"
    await mail.work()
    assert (await mail.count("pr_shop_1"), await mail.count("pr_other_1")) == (1, 1)
    assert await mail.handled() == {"d1": ("given", "ada/shop#1 may have changed: pull_request")}
    told = [(each.entity, each.type) for each in await mail.of("d1")]
    assert told[0] == (INBOX_OF_IT, "delivery_taken")
    assert event_view((await mail.of("d1"))[0]).summary == "delivery d1 taken: pull_request"
    assert {("pr_shop_1", "added"), ("pr_other_1", "added"), (INBOX_OF_IT, "delivery_handled")} < set(told)
    assert await mail.store.undone(FORGE, limit=9) == ()
    assert not await mail.deliver("d1")
    await mail.work()
    assert await mail.count() == 1
    assert mail.forge.asked == [], "a hint needs nobody's right"


async def test_hundreds_are_done_in_order_over_all_pages(mail: Mail) -> None:
    for number in range(120):
        await mail.deliver(f"d{number}", number=number % 7 + 1)
    await mail.work()
    assert list(await mail.handled()) == [f"d{number}" for number in range(120)]
    assert sum([await mail.count(f"pr_shop_{number}") for number in range(1, 8)]) == 120


async def test_of_a_burst_all_is_handled_at_once_and_its_sources_are_looked_for_once_a_page(mail: Mail) -> None:
    for number in range(40):
        await mail.deliver(f"d{number}", number=number % 4 + 1)
    await mail.work()
    assert [await mail.count(f"pr_shop_{number}") for number in range(1, 5)] == [10] * 4
    page = await mail.store.events(EventFilter(entity=INBOX_OF_IT, type="delivery_handled"), limit=500)
    assert len(page.items) == 40
    assert mail.pulls.looked == 2, "twenty are a page"


async def test_one_that_cannot_be_done_takes_none_of_its_page_with_it(mail: Mail) -> None:
    mail.pulls.broken = {2: ValueError("a fault of ours"), 3: Rejected("it is over")}
    for number in range(1, 5):
        await mail.deliver(f"d{number}", number=number)
    await mail.work()
    assert list(await mail.handled()) == ["d1", "d3", "d4"], "in the order in which they came"
    assert (await mail.handled())["d3"] == ("ignored", "it is over")
    assert [await mail.count(f"pr_shop_{number}") for number in range(1, 5)] == [1, 0, 0, 1]
    assert (await mail.inbox()).waiting == 1
    mail.pulls.broken = {}
    await mail.wait()
    assert (await mail.count("pr_shop_2"), (await mail.inbox()).waiting) == (1, 0)


async def test_a_forge_that_thinks_about_a_command_keeps_no_hint_of_before_waiting(mail: Mail) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    mail.forge.thinking = (asked, answer)
    await mail.deliver("d1", number=1)
    await mail.command("d2", "/twin status", number=2)
    working = asyncio.create_task(mail.work())
    await asyncio.wait_for(asked.wait(), 30)
    assert list(await mail.handled()) == ["d1"]
    answer.set()
    await working
    assert list(await mail.handled()) == ["d1", "d2"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"event": "ping"}, "of no use"),
        ({"body": b"{no json"}, "cannot be read"),
        ({"repository": "eve/shop"}, "no preview source names eve/shop"),
        ({"host": "evil.example"}, "it tells of evil.example, and github/main is forge.test:3000"),
        ({"host": "forge.test"}, "it tells of forge.test"),
        ({"host": "evil.example", "comment": "/twin destroy"}, "evil.example"),
        ({"repository": "eve/shop", "comment": "/twin destroy"}, "eve/shop"),
    ],
)
async def test_what_concerns_nobody_is_ignored_says_why_and_stops_nothing(
    mail: Mail, given: dict[str, Any], why: str
) -> None:
    await mail.deliver("d1", **given)
    await mail.deliver("d2")
    await mail.work()
    outcome, reason = (await mail.handled())["d1"]
    assert event_view((await mail.of("d1"))[-1]).summary == f"delivery d1 ignored: {reason}"
    assert (outcome, why in reason) == ("ignored", True), reason
    assert {each.entity for each in await mail.of("d1")} == {INBOX_OF_IT}, "nothing else changes"
    assert mail.forge.asked == []
    assert await mail.count() == 1


async def test_a_command_comes_with_what_its_author_may_do(mail: Mail) -> None:
    mail.forge.answers = ["read"]
    await mail.command("d1", "/twin extend 2d")
    await mail.work()
    assert mail.forge.asked == [("ada/shop", "ada")]
    assert mail.pulls.commands == [("/twin extend 2d", "read")]
    assert await mail.count() == 100
    assert (await mail.handled())["d1"] == ("given", "ada wrote '/twin extend 2d' on ada/shop#1")


async def test_a_forge_that_is_for_others_by_now_carries_no_commands(mail: Mail) -> None:
    mail.forges.limits = Blocked("not for shop", key=f"{FORGE}/limits/shop", mend="Widen it.")
    await mail.command("d1", "/twin destroy")
    await mail.work()
    assert mail.pulls.commands == mail.forge.asked == []
    assert (await mail.handled())["d1"] == ("ignored", f"{FORGE} does not take previews of its projects any more")


@pytest.mark.parametrize(
    ("there", "outcome"),
    [
        (
            Written(author="eve", body="/twin status\nplease", at=START),
            ("given", "eve wrote '/twin status' on ada/shop#1"),
        ),
        (Written(author="ada", body="never mind", at=START), ("ignored", "comment 9 is no command")),
        (Written(author="ada", body="    /twin destroy", at=START), ("ignored", "comment 9 is no command")),
        (Written(author="ada", body="/twin logs " + "x" * 500, at=START), ("ignored", "comment 9 is no command")),
        (Written(author="ada", body="/twin logs \x1b[2J", at=START), ("ignored", "comment 9 is no command")),
        (None, ("ignored", "the forge has no comment 9 of anybody there")),
    ],
)
async def test_of_a_command_that_was_delivered_nothing_is_believed_but_its_id(
    mail: Mail, there: Written | None, outcome: tuple[str, str]
) -> None:
    """Whoever set up the webhook of one repository knows the secret, and can sign anything in anybody's name."""
    if there is not None:
        mail.forge.comments["ada/shop", 1, 9] = there
    mail.forge.comments["ada/shop", 2, 9] = Written(author="ada", body="/twin destroy", at=START)
    mail.forge.answers = ["read"]
    await mail.deliver("d1", event="issue_comment", comment="/twin destroy")
    await mail.work()
    told, why = (await mail.handled())["d1"]
    assert (told, why.startswith(outcome[1])) == (outcome[0], True), why
    given = told == "given"
    assert mail.forge.asked == ([("ada/shop", "eve")] if given else [])
    assert mail.pulls.commands == ([("/twin status", "read")] if given else [])
    assert await mail.count() == (100 if given else 0)


async def test_a_forge_that_does_not_tell_of_a_comment_delays_its_command_alone(mail: Mail) -> None:
    mail.forge.silent = Transient("no answer")
    await mail.command("d1", "/twin status")
    await mail.deliver("d2")
    await mail.work()
    assert (list(await mail.handled()), mail.forge.asked) == (["d2"], [])
    mail.forge.silent = None
    await mail.wait()
    assert (await mail.handled())["d1"] == ("given", "ada wrote '/twin status' on ada/shop#1")
    assert await mail.count() == 101


async def test_a_forge_that_does_not_answer_delays_commands_alone_and_is_asked_once(mail: Mail) -> None:
    mail.forge.answers = [Transient("no answer")]
    await mail.command("d1", "/twin status")
    await mail.command("d2", "/twin redeploy")
    await mail.deliver("d3")
    await mail.work()
    assert list(await mail.handled()) == ["d3"]
    assert len(mail.forge.asked) == 1
    await mail.deliver("d4")
    await mail.work()
    assert (await mail.count(), len(mail.forge.asked)) == (2, 1), "what is new does not wait, nor hurry the rest"
    mail.forge.answers = [Transient("no answer yet", retry_after=timedelta(hours=1))]
    await mail.wait()
    assert len(mail.forge.asked) == 2
    await mail.wait()
    assert await mail.count() == 202
    assert list(await mail.handled()) == ["d3", "d4", "d1", "d2"]
    assert (await mail.inbox()).waiting == 0


async def test_new_deliveries_do_not_keep_the_old_ones_from_their_turn(mail: Mail) -> None:
    mail.forge.answers = [Transient("no answer")]
    await mail.command("d1", "/twin status")
    await mail.work()
    due = await mail.store.next_due()
    assert due is not None
    mail.clock.move_to(due + timedelta(seconds=1))
    await mail.deliver("d2")
    task = await mail.claim()
    assert task is not None
    await mail.executor("w1").step(task)
    assert set(await mail.handled()) == {"d1", "d2"}, "in one run"


async def test_a_refused_token_waits_for_a_human_and_goes_on_when_it_is_mended(mail: Mail) -> None:
    refused = Blocked("the token is refused", key="github/main/token", mend="give another")
    mail.forge.answers = [refused]
    await mail.command("d1", "/twin status")
    await mail.deliver("d2")
    await mail.work()
    assert list(await mail.handled()) == ["d2"]
    (block,) = await mail.store.blocks()
    assert (block.key, block.entities) == ("github/main/token", (INBOX_OF_IT,))
    mail.clock.advance(timedelta(days=1))
    await mail.work()
    assert len(mail.forge.asked) == 1
    await mail.store.transact(lambda tx: tx.resolve_block("github/main/token", TWIN))
    (lifted,) = [task for task in await mail.store.due_timers(9) if task.kind == "block"]
    await mail.executor("w1").timer(lifted)
    await mail.work()
    assert await mail.count() == 101


async def test_a_forge_that_is_not_configured_any_more_keeps_all_that_it_delivered(mail: Mail) -> None:
    mail.forges.missing = Blocked("not configured", key="github/main/missing", mend="add it again")
    await mail.deliver("d1")
    await mail.deliver("ping", event="ping")
    await mail.work()
    assert list(await mail.handled()) == ["ping"]
    assert (await mail.inbox()).block == "github/main/missing"


@pytest.mark.parametrize("refusal", [Rejected("it is over"), Terminal("no command")])
async def test_what_a_pull_request_refuses_is_ignored_with_the_reason(mail: Mail, refusal: Exception) -> None:
    mail.pulls.refuses = refusal
    await mail.command("d1", "/twin what")
    await mail.work()
    assert (await mail.handled())["d1"] == ("ignored", str(refusal))
    assert await mail.count() == 0, "nothing of what had begun is left"


async def test_a_fault_of_ours_leaves_the_delivery_for_later_and_does_the_others(mail: Mail) -> None:
    mail.pulls.refuses = ValueError("a fault of ours")
    await mail.deliver("d1")
    await mail.work()
    assert (await mail.handled(), await mail.count()) == ({}, 0)
    assert (await mail.inbox()).waiting == 1
    mail.pulls.refuses = None
    await mail.wait()
    assert await mail.count() == 1


async def test_a_worker_that_dies_after_its_last_commit_has_done_nothing_twice(mail: Mail) -> None:
    for number in range(3):
        await mail.deliver(f"d{number}")
    task = await mail.claim()
    assert task is not None
    await mail.errands.run(task)  # all is committed; and here it dies
    assert await mail.count() == 3
    await mail.executor("w1").lost(task, proven_dead=True)
    await mail.work()
    assert await mail.count() == 3
    assert len(await mail.handled()) == 3


async def test_two_that_do_the_same_deliveries_do_each_once(mail: Mail) -> None:
    """A worker that was given up, and its successor."""
    for number in range(3):
        await mail.deliver(f"d{number}")
    first = await mail.claim()
    assert first is not None
    page = await mail.store.undone(FORGE, limit=9)
    await mail.executor("w1").lost(first, proven_dead=False)
    second = await mail.claim("w2")
    assert second is not None
    await mail.executor("w2").step(second)
    await mail.errands._try_all(INBOX_OF_IT, FORGE, page, None)  # the first goes on with what it had read
    assert await mail.count() == 3
    assert len(await mail.handled()) == 3
    assert await mail.claim() is None


async def test_bodies_are_dropped_after_a_week_and_the_delivery_is_known_still(mail: Mail) -> None:
    dropped: list[timedelta] = []
    begun = mail.clock.now()
    await mail.deliver("d1")
    await mail.work()
    mail.clock.advance(timedelta(days=3))
    await mail.deliver("d2")
    await mail.work()
    while await mail.store.next_due() is not None:
        await mail.wait()
        dropped.append(mail.clock.now() - begun)
    assert dropped == [KEPT, KEPT + timedelta(days=3)], "then the inbox is at rest and costs nothing"
    assert await mail.store.transact(lambda tx: tx.drop_deliveries(FORGE, begun)) is None, "no body is left"
    assert not await mail.deliver("d1")
    assert (await mail.store.verify()).findings == ()


async def test_an_errand_that_broke_off_is_run_again_after_a_while(mail: Mail) -> None:
    """The database went away, or it took too long: the runner of errands tells how."""
    await mail.deliver("d1")
    task = await mail.claim()
    assert task is not None
    for key in ("deliveries", "retention"):
        told = mail.errands.failed(replace(task, key=key), Transient("it took too long"))
        await mail.store.transact(lambda tx, told=told: tx.transition(INBOX.kind, INBOX_OF_IT, told, Cause(TWIN)))
    inbox = await mail.inbox()
    assert inbox.retry_at is not None
    assert inbox.drop_at is not None
    assert min(inbox.retry_at, inbox.drop_at) > mail.clock.now()
    await mail.wait()
    assert await mail.count() == 1

"""What a real Gitea delivers: signed as we check it, read as it writes it, and its authors' rights as it knows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.webhooks.forms import FORMS
from providers.gitea import KIND
from tests.api.http.world import World
from tests.api.webhooks.hooks import refusals
from tests.providers.gitea_world import Account, Gitea, Repository
from tests.waiting import soon
from twin.domain.decider import Cause
from twin.domain.identity import TWIN
from twin.domain.inbox import INBOX, inbox_id
from twin.domain.platform import PLATFORM_ID
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.names import pull_id, source_id
from twin.domain.previews.source import PREVIEW_SOURCE, Configure
from twin.domain.targets import Target
from twin.engine.opened import OpenedForges
from twin.ports.store import Claimed, EventFilter, Recorded, Tx
from twin.service.inbox_errands import InboxErrands
from twin.service.pull_news import PullNews

FORGE = "gitea/main"
SECRET = "at least sixteen letters"
EVENTS = ("pull_request", "pull_request_sync", "pull_request_label", "pull_request_comment", "issue_comment", "push")


class Listening:
    """A twin that a repository's webhook delivers to; its inbox's errand is run by hand."""

    def __init__(self, world: World, repository: Repository, url: str) -> None:
        self.world = world
        self.repository = repository
        self.url = url
        self._forges = OpenedForges(world.store, world.vault, {"gitea": KIND})
        translations = {kind: form.translate for kind, form in FORMS.items()}
        pulls = PullNews(world.store)
        self._errands = InboxErrands(world.store, self._forges, pulls, translations, world.changes, world.clock)

    async def configure(self, gitea: Gitea, token: str) -> None:
        """The forge as a target, and the repository as a preview source."""
        config = SourceConfig(forge=FORGE, repository=self.repository.full_name, project="shop", blueprint="guestbook")
        target = Target(name=FORGE, provider="gitea", config={"url": gitea.url})

        def keep(tx: Tx) -> None:
            tx.put_target(target)
            for name, value in (("token", token), ("webhook_secret", SECRET)):
                tx.put_secret(PLATFORM_ID, FORGE, 1, name, self.world.vault.seal(PLATFORM_ID, FORGE, 1, name, value))
            given = Configure(name="web", config=config)
            tx.transition(PREVIEW_SOURCE.kind, source_id("web"), given, Cause(TWIN))

        await self.world.store.transact(keep)

    async def heard(self, event: str, what: str, *, least: int = 1) -> list[Recorded]:
        """The events of our kind that came of deliveries, once there is one that says so."""

        async def look() -> list[Recorded]:
            await self._work()
            found = await self.world.store.events(EventFilter(type=event), limit=500)
            wanted = [each for each in found.items if what in str(each.event)]
            return wanted if len(wanted) >= least else []

        return await soon(look, within=60, why=lambda: f"{event} {what}")

    async def _work(self) -> None:
        entity = inbox_id(FORGE)
        task = Claimed(entity_kind=INBOX.kind, entity=entity, kind="step", key="deliveries", queue="", epoch=1)
        if (told := await self._errands.run(task)) is not None:
            await self.world.store.transact(lambda tx: tx.transition(INBOX.kind, entity, told, Cause(TWIN)))

    async def close(self) -> None:
        await self._forges.close()


@pytest.fixture
def ada(gitea: Gitea) -> Account:
    return gitea.add("ada")


@pytest.fixture
async def twin(gitea: Gitea, ada: Account, tmp_path: Path) -> AsyncIterator[Listening]:
    world = World(tmp_path)
    await world.seed()
    repository = gitea.repository(ada, f"hooked-{tmp_path.name[-12:].replace('_', '-')}")
    async with world.served() as http:
        listening = Listening(world, repository, f"{str(http.base_url).rstrip('/')}/webhooks/{FORGE}")
        await listening.configure(gitea, ada.token)
        yield listening
        await listening.close()
    repository.remove()
    await world.store.close()


async def test_all_that_happens_to_a_pull_request_is_heard_and_commands_have_their_author_s_right(
    gitea: Gitea, twin: Listening
) -> None:
    repository, eve = twin.repository, gitea.add("eve")

    def happen() -> int:
        repository.webhook(twin.url, SECRET, *EVENTS)
        repository.commit("feature/dots/x", {"a.txt": "1"})
        number = repository.pull("feature/dots/x")
        repository.commit("feature/dots/x", {"a.txt": "2"})
        repository.label(number, "preview")
        repository.comment(number, "looks good")
        repository.comment(number, "/twin redeploy\r\nplease")
        repository.comment(number, "/twin extend 2d", by=eve)
        repository.edit(number, state="closed")
        return number

    number = await in_thread(happen)
    entity = pull_id("web", number)
    for what in ("opened", "synchronized", "label_updated", "closed"):
        (hinted, *_) = await twin.heard("pull_hinted", f"pull_request.{what}")
        assert hinted.entity == entity
        assert hinted.request_id == hinted.event.delivery
    by_ada, by_eve = await twin.heard("command_taken", "command", least=2)
    if by_ada.event.by == "eve":
        by_ada, by_eve = by_eve, by_ada
    assert (by_ada.event.command, by_ada.event.refusal, str(by_ada.actor)) == ("redeploy", False, "person:ada")
    assert (by_eve.event.argument, by_eve.event.refusal, str(by_eve.actor)) == ("2d", True, "person:eve")
    handled = await twin.heard("delivery_handled", "ignored", least=1)
    assert any("no command" in each.event.why for each in handled), "a comment that only talks"
    assert await refusals(twin.world) == []


async def test_one_that_is_signed_with_another_secret_is_refused_and_recorded(twin: Listening) -> None:
    def happen() -> None:
        twin.repository.webhook(twin.url, "another secret than ours", *EVENTS)
        twin.repository.commit("feature", {"a.txt": "1"})
        twin.repository.pull("feature")

    await in_thread(happen)
    found = await soon(lambda: refusals(twin.world), within=60)
    assert {each.event.what for each in found} == {"delivery_refused"}
    assert found[0].event.details["target"] == FORGE
    assert (await twin.world.store.events(EventFilter(type="delivery_taken"))).items == ()


async def in_thread(fn: Any) -> Any:
    """The clients of the test's Gitea block, and the twin must answer meanwhile."""
    return await asyncio.to_thread(fn)

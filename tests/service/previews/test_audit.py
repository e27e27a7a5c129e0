"""What belongs to a pull request, from the delivery to the certificate, found by its number."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import pytest

from tests.service.previews.model_forge import REPOSITORY
from tests.service.previews.scene import FORGE, A, B, Scene
from twin.domain.decider import Cause
from twin.domain.errors import Forbidden, Invalid, NotFound
from twin.domain.identity import TWIN
from twin.domain.inbox import INBOX, inbox_id
from twin.domain.previews.config import CloneFrom, SourceConfig
from twin.domain.previews.inputs import Hint
from twin.domain.previews.names import pull_id
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.targets import Target
from twin.ports.deliveries import Comment, News, Nothing
from twin.ports.forge import Comment as Written
from twin.ports.store import EventFilter, Tx
from twin.service.inbox_errands import InboxErrands
from twin.service.inboxes import Delivered, Inboxes
from twin.service.principals import Principal
from twin.service.pull_news import PullNews
from twin.service.views import EventView
from twin.testing.world import ADMIN, open_world

VIEWER = Principal("vi", (("shop", "viewer"),))


def translate(event: str, headers: Mapping[str, str], body: bytes) -> News | Nothing:
    """The model forge writes a number, and what somebody commented."""
    told = json.loads(body)
    comment = Comment(id=str(told["id"]), author="bo", text=told["text"]) if "text" in told else None
    return News(what=event, hosts=("forge.test",), repository=REPOSITORY, number=told["number"], comment=comment)


class Delivering(Scene):
    """A scene with an inbox."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.inboxes = Inboxes(world.store, world.vault, world.changes)
        translations = {"gitea": translate}
        world.errands[INBOX.kind] = InboxErrands(
            world.store, self.forges, PullNews(world.store), translations, world.changes, world.clock
        )

    async def deliver(self, delivery: str, **told: Any) -> None:
        told = {"number": 42, **told}
        if "text" in told:
            written = Written(author="bo", body=told["text"], at=self.world.clock.now())
            self.forge.written[told["number"], told["id"]] = written
        body = json.dumps(told).encode()
        await self.inboxes.take(Delivered(target=FORGE, id=delivery, event="news", headers={}, body=body))
        await self.settle()

    async def audit(self, pr: str, by: Principal = ADMIN, **more: Any) -> list[EventView]:
        found: list[EventView] = []
        after = None
        wanted = await self.world.history.pull(pr, by, **more)
        while (page := await self.world.history.query(wanted, by, limit=7, after=after)).items:
            found.extend(page.items)
            after = page.next
        return found


def heard(tx: Tx, entity: str, hint: Hint) -> None:
    tx.transition(PULL_REQUEST.kind, entity, hint, Cause(TWIN))


@pytest.fixture
async def scene() -> AsyncIterator[Delivering]:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        yield Delivering(world)


async def test_all_of_a_pull_request_and_nothing_else(scene: Delivering) -> None:
    other = await scene.world.create("dev")
    await scene.configure()
    for number, sha in ((42, A), (43, B)):
        scene.forge.open(number, sha)
        await scene.deliver(f"opened-{number}", number=number)
    await scene.deliver("command", id=1, text="/twin extend 2d")
    env = await scene.environment()
    assert env is not None
    by_hand = await scene.world.send(env.id, "scale", component="app", replicas=2)
    await scene.settle()
    scene.forge.change(42, state="closed")
    await scene.deliver("closed")

    found = await scene.audit("42")
    pull, neighbour = pull_id("guestbook", 42), pull_id("guestbook", 43)
    source, inbox = "src_guestbook", inbox_id(FORGE)
    assert {each.environment for each in found} == {pull, env.id, source, inbox}
    types = {(each.environment, each.type) for each in found}
    told = {
        pull: ("pull_noticed", "pull_hinted", "command_taken", "preview_published"),
        env.id: ("created", "step_succeeded", "placement_swept", "destroyed"),
        source: ("slot_taken", "slot_left"),
        inbox: ("delivery_taken", "delivery_handled"),
    }
    assert types >= {(entity, type_) for entity, some in told.items() for type_ in some}
    deliveries = {each.request_id for each in found if each.environment == inbox}
    assert deliveries == {"opened-42", "command", "closed"}, "its own alone, ignored ones too"
    assert by_hand in {each.operation_id for each in found}, "what people do to its environment belongs to it"
    everything = await scene.world.store.events(EventFilter(), limit=5000)
    order = [each.cursor for each in everything.items]
    assert [each.id for each in found] == sorted((each.id for each in found), key=order.index)
    for entity in (pull, env.id):
        assert [e.cursor for e in everything.items if e.entity == entity] == [
            e.id for e in found if e.environment == entity
        ]
    assert neighbour not in {each.pull for each in found}
    assert {each.pull for each in await scene.audit("43")} == {neighbour, None}
    assert other not in {each.environment for each in found}


async def test_what_it_does_to_the_environment_that_it_clones_is_of_it_and_no_more(scene: Delivering) -> None:
    staging = await scene.world.create("staging")
    await scene.world.run_until_quiet()
    before = len(await scene.world.events(staging))
    await scene.configure(blueprint=None, clone_from=CloneFrom(environment="shop/staging", data="full"))
    scene.forge.open(42, A)
    await scene.deliver("opened")
    mine = [each for each in await scene.audit("42") if each.environment == staging]
    assert "held" in {each.type for each in mine}
    assert all(each.seq > before for each in mine)


async def test_who_may_ask(scene: Delivering) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.deliver("opened")
    assert await scene.audit("42", VIEWER) == await scene.audit("42")
    stranger = Principal("eve", (("other", "admin"),))
    with pytest.raises(NotFound):
        await scene.audit("42", stranger)
    with pytest.raises(Forbidden):
        await scene.world.history.query(EventFilter(pull=pull_id("guestbook", 42)), stranger)


async def test_a_number_that_several_have_names_which(scene: Delivering) -> None:
    await scene.configure()
    for source, repository, project in (("docs", "acme/docs", "shop"), ("twice", "Acme/Guestbook", "lab")):
        given = SourceConfig(forge=FORGE, repository=repository, project=project, blueprint="guestbook")
        await scene.sources.put(source, given, scene.world.request())
        origin = (await scene.world.store.entity("preview_source", f"src_{source}")).state.origin(42)  # type: ignore[union-attr]
        hint = Hint(origin=origin, delivery="d1", what="test")
        entity = pull_id(source, 42)
        await scene.world.store.transact(partial(heard, entity=entity, hint=hint))
    await scene.say(42)

    async def which(text: str, **more: Any) -> str:
        wanted = await scene.world.history.pull(text, more.pop("by", ADMIN), **more)
        assert wanted.pull is not None
        return wanted.pull

    with pytest.raises(Invalid) as refused:
        await which("42")
    assert refused.value.field == "pr"
    for named in ("acme/docs#42 of source docs", "acme/guestbook#42 of source guestbook", "--source"):
        assert named in refused.value.message + (refused.value.mend or "")
    assert await which("acme/docs#42") == "pr_docs_42"
    assert await which("42", source="guestbook") == await which("#42", source="guestbook") == "pr_guestbook_42"
    assert await which("42", project="lab") == "pr_twice_42"
    with pytest.raises(Invalid, match="of source twice"):
        await which("acme/guestbook#42")
    assert await which("ACME/guestbook#42", by=VIEWER) == "pr_guestbook_42", "only what one may see is ambiguous"
    for wrong in ("", "x", "0", "acme/guestbook", "acme/guestbook#", "4 2", "-1"):
        with pytest.raises(Invalid):
            await which(wrong)
    with pytest.raises(NotFound):
        await which("41")
    with pytest.raises(NotFound, match="gestbook") as unknown:
        await which("42", source="gestbook")
    assert "guestbook" in (unknown.value.mend or "")


async def test_its_history_outlives_its_source(scene: Delivering) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.deliver("opened")
    await scene.sources.remove("guestbook", scene.world.request())
    await scene.settle()
    await scene.settle()
    assert "destroyed" in {each.type for each in await scene.audit("acme/guestbook#42")}

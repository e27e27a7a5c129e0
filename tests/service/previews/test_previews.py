"""Pull requests with previews, from the forge to the environment and back: everything real but the forge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.service.previews.model_forge import REPOSITORY
from tests.service.previews.scene import FORGE, A, B, C, Scene
from twin.domain.errors import Blocked, Forbidden, Invalid, NotFound, Transient
from twin.domain.identity import TWIN
from twin.domain.previews.config import CloneFrom, SourceConfig
from twin.domain.quotas import Quotas
from twin.domain.targets import Target
from twin.engine.embedded.reaper import Reaper
from twin.ports.store import EventFilter
from twin.service.principals import Principal, Request
from twin.testing.inline import WORKER
from twin.testing.world import ADMIN, open_world


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_world() as world:
        await world.store.transact(lambda tx: tx.put_target(Target(name=FORGE, provider="gitea")))
        yield Scene(world)


async def test_a_pull_request_is_opened_pushed_to_and_closed(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    assert (env.tier, env.desired.labels["pr"]) == ("preview", "42")
    assert env.desired.components["app"].inputs["source"] == {"git": f"https://forge.test/{REPOSITORY}.git", "ref": A}
    assert scene.forge.statuses[A].outcome == "success"
    assert scene.forge.deployments[A].outcome == "success"
    assert "Preview: ready" in scene.forge.comments[42]

    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert await scene.shown() == B
    assert scene.forge.statuses[B].outcome == "success"

    scene.forge.change(42, state="closed")
    await scene.hint()
    gone = await scene.environment()
    assert gone is not None
    assert gone.id == env.id
    assert gone.certificate is not None
    assert scene.forge.statuses[B].outcome == "inactive"
    assert "Proven gone" in scene.forge.comments[42]
    assert scene.world.outside.standing == {}


async def test_reopened_it_comes_back(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    first = await scene.environment()
    scene.forge.change(42, state="closed")
    await scene.hint()
    scene.forge.change(42, state="open", head_sha=C)
    await scene.hint()
    second = await scene.environment()
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert await scene.shown() == C


async def test_missed_webhooks_are_caught_up_with(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(minutes=6))
    assert await scene.shown() == A
    scene.forge.change(42, state="merged")
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(minutes=6))
    assert await scene.shown() is None


async def test_a_listing_that_fails_destroys_nothing(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    scene.forge.failing = {"open_pulls": [Transient("cut")] * 3, "pull": [Transient("down")] * 3}
    await scene.hint()
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(minutes=30))
    assert await scene.shown() == A


async def test_no_more_live_at_once_than_may_and_the_next_comes_when_one_goes(scene: Scene) -> None:
    await scene.configure(max_live=1)
    for number, sha in ((42, A), (43, B)):
        scene.forge.open(number, sha)
        await scene.hint(number)
    assert await scene.shown(42) == A
    assert await scene.environment(43) is None
    assert "Preview: queued" in scene.forge.comments[43]
    lives, waits = await scene.sources.pulls("guestbook", ADMIN)
    assert (lives.number, lives.status, lives.environment, lives.commit) == (42, "ready", "shop/pr-42", A)
    assert (waits.number, waits.status, waits.environment, waits.commit) == (43, "queued", None, B)
    assert waits.why == "None waited before it as it came."
    scene.forge.change(42, state="closed")
    await scene.hint(42)
    assert await scene.shown(43) == B


async def test_a_project_that_is_full_lets_a_preview_wait_until_there_is_room(scene: Scene) -> None:
    await scene.world.quotas.set("shop", Quotas(tiers={"preview": 1}), scene.world.request())
    await scene.configure(reconcile_every=86_400.0)
    for number, sha in ((42, A), (43, B)):
        scene.forge.open(number, sha)
        await scene.hint(number)
    assert await scene.shown(42) == A
    assert await scene.environment(43) is None
    assert "Preview: queued" in scene.forge.comments[43]
    assert "1 of at most 1 preview environments" in scene.forge.comments[43].replace("\\", "")
    assert scene.forge.statuses[B].outcome == "pending", "it is no failure"
    (block,) = await scene.world.store.blocks()
    assert (block.key, block.waiting) == ("project/shop/quota", 1)
    scene.forge.change(43, head_sha=C)
    await scene.hint(43)
    assert "Preview: queued" in scene.forge.comments[43]
    scene.forge.change(42, state="closed")
    await scene.hint(42)
    assert await scene.shown(43) == C, "it goes on as soon as the other is proven gone"
    assert await scene.world.store.blocks() == ()


async def test_a_preview_that_waits_for_room_goes_on_with_a_higher_quota_or_ends_with_its_pull_request(
    scene: Scene,
) -> None:
    await scene.world.quotas.set("shop", Quotas(max_environments=0), scene.world.request())
    await scene.configure(reconcile_every=86_400.0)
    for number, sha in ((42, A), (43, B)):
        scene.forge.open(number, sha)
        await scene.hint(number)
    scene.forge.change(43, state="closed")
    await scene.hint(43)
    assert "Preview: closed" in scene.forge.comments[43]
    before = len((await scene.world.store.events(EventFilter(entity="pr_guestbook_42"), limit=1000)).items)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(hours=1))
    after = len((await scene.world.store.events(EventFilter(entity="pr_guestbook_42"), limit=1000)).items)
    assert after - before < 40, "it looks again every few minutes, and no more"
    await scene.world.quotas.set("shop", Quotas(max_environments=1), scene.world.request())
    await scene.settle()
    assert await scene.shown(42) == A
    assert await scene.environment(43) is None
    assert (await scene.sources.get("guestbook", ADMIN)).live == ("pr_guestbook_42",)


async def test_a_clone_of_an_environment_with_its_data(scene: Scene) -> None:
    await scene.world.create("staging")
    await scene.world.run_until_quiet()
    clone = CloneFrom(environment="shop/staging", data="full")
    await scene.configure(blueprint=None, clone_from=clone)
    scene.forge.open(42, A)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    assert env.desired.seed is not None
    assert (env.desired.seed.name, env.desired.seed.mode) == ("staging", "full")
    assert await scene.shown() == A


async def test_what_the_blueprint_refuses_is_told_and_tried_again_with_the_next_commit(scene: Scene) -> None:
    await scene.configure(component="nothing")
    scene.forge.open(42, A)
    await scene.hint()
    assert await scene.environment() is None
    assert scene.forge.statuses[A].outcome == "failure"
    assert "nothing" in scene.forge.comments[42]
    await scene.configure(component="app")
    assert await scene.shown() == A


async def test_a_name_that_is_taken_by_another_environment_is_not_touched(scene: Scene) -> None:
    taken = await scene.world.create("pr-42")
    await scene.world.run_until_quiet()
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    assert scene.forge.statuses[A].outcome == "failure"
    scene.forge.change(42, state="closed")
    await scene.hint()
    assert (await scene.world.env(taken)).certificate is None


async def test_a_removed_source_takes_all_its_previews_away(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    await scene.sources.remove("guestbook", scene.world.request())
    await scene.settle()
    await scene.settle()
    assert await scene.shown() is None
    assert (await scene.sources.get("guestbook", ADMIN)).status == "removed"


async def test_the_repositorys_own_file_narrows(scene: Scene) -> None:
    await scene.configure()
    scene.forge.files[".twin/preview.yaml"] = b"paths: [docs/**]"
    scene.forge.open(42, A)
    await scene.hint()
    assert await scene.environment() is None
    scene.forge.files[".twin/preview.yaml"] = b"max_live: 99"
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert "max_live" in scene.forge.comments[42].replace("\\", ""), "it may not widen"
    scene.forge.files[".twin/preview.yaml"] = b"paths: ["
    scene.forge.change(42, head_sha=C)
    await scene.hint()
    assert "no YAML" in scene.forge.comments[42].replace("\\", "")


async def test_commands(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    await scene.command("destroy", permission="read")
    assert await scene.shown() == A, "whoever may not write may not destroy"
    await scene.command("destroy")
    assert await scene.shown() is None
    await scene.command("redeploy")
    assert await scene.shown() == A
    before = (await scene.environment()).desired.expires_at  # type: ignore[union-attr]
    await scene.command("extend 5d")
    after = (await scene.environment()).desired.expires_at  # type: ignore[union-attr]
    assert before is not None
    assert after is not None
    assert after > before
    await scene.command("logs app")
    assert "<details>" in scene.forge.comments[42]


async def test_two_sources_of_one_repository_speak_for_themselves(scene: Scene) -> None:
    await scene.configure()
    other = {"forge": FORGE, "repository": REPOSITORY, "project": "bank", "blueprint": "guestbook"}
    await scene.sources.put("bad", SourceConfig(**other, component="nothing"), scene.world.request())
    await scene.settle()
    scene.forge.open(42, A)
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(minutes=11))
    said = {context: report.outcome for (_, context), report in scene.forge.reports.items()}
    assert said == {"twin/preview/guestbook": "success", "twin/preview/bad": "failure"}
    assert [place for _, place in scene.forge.deployed] == ["shop/pr-42"]
    assert len(scene.forge.threads[42]) == 2, "a comment of each"


async def test_logs_are_shown_once_to_whoever_asked(scene: Scene) -> None:
    await scene.configure(reconcile_every=86_400.0)
    scene.forge.open(42, A)
    await scene.hint()
    await scene.command("logs app")
    shown, told = scene.forge.comments[42], scene.forge.calls.count("put_comment")
    assert "<details>" in shown
    await scene.hint()
    assert scene.forge.calls.count("put_comment") == told, "it stays as long as there is nothing else to say"
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert f"Commit `{B[:12]}`" in scene.forge.comments[42]
    assert "<details>" not in scene.forge.comments[42], "nobody has asked for these"

    for _ in range(2):
        told = scene.forge.calls.count("put_comment")
        await scene.command("logs app")
        assert "<details>" in scene.forge.comments[42]
        assert scene.forge.calls.count("put_comment") == told + 1, "asked again, they are read again"


async def test_a_forge_that_wants_a_human_waits_for_one(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    scene.forge.failing["pull"] = [Blocked("its token is refused", key="gitea/main/token", mend="give another")]
    await scene.hint()
    assert await scene.environment() is None
    (block,) = await scene.world.store.blocks()
    assert block.key == "gitea/main/token"
    await scene.world.store.transact(lambda tx: tx.resolve_block(block.key, TWIN))
    await scene.settle()
    assert await scene.shown() == A


async def test_what_a_commit_has_in_it_is_asked_once(scene: Scene) -> None:
    await scene.configure(reconcile_every=86_400.0)
    scene.forge.open(42, A)
    scene.forge.failing["content"] = [Transient("no answer")]
    await scene.hint()
    asked = scene.forge.calls.count("content")
    assert asked == 2, "no answer is none"
    for _ in range(3):
        await scene.hint()
    assert scene.forge.calls.count("content") == asked
    assert scene.forge.calls.count("pull") > asked + 2
    scene.forge.files[".twin/preview.yaml"] = b"labels: {needed: [preview]}"
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert scene.forge.calls.count("content") == asked + 1, "another commit has other files"
    assert await scene.shown() is None


async def test_who_may_configure_what(scene: Scene) -> None:
    config = SourceConfig(forge=FORGE, repository=REPOSITORY, project="shop", blueprint="guestbook")
    developer = Request(Principal("dev", (("shop", "developer"),)), "r1")
    with pytest.raises(Forbidden):
        await scene.sources.put("guestbook", config, developer)
    await scene.configure()
    assert [each.name for each in await scene.sources.all(developer.by)] == ["guestbook"]
    assert await scene.sources.all(Principal("other", (("else", "admin"),))) == ()
    with pytest.raises(NotFound):
        await scene.sources.get("guestbook", Principal("other", (("else", "admin"),)))
    with pytest.raises(Forbidden):
        await scene.sources.remove("guestbook", developer)
    wrong = SourceConfig(forge="gitea/mian", repository=REPOSITORY, project="shop", blueprint="guestbook")
    with pytest.raises(Invalid, match="gitea/mian") as refused:
        await scene.sources.put("other", wrong, scene.world.request())
    assert refused.value.field == "forge"
    assert "gitea/main" in (refused.value.mend or "")


async def test_closing_ends_what_somebody_has_protected(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    await scene.world.send(env.id, "protect")
    scene.forge.change(42, state="closed")
    await scene.hint()
    assert await scene.shown() is None


async def test_what_was_said_by_somebody_who_died_is_said_again(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    scene.forge.failing["report"] = [Transient("no answer")] * 3
    await scene.hint()
    assert scene.forge.statuses[A].outcome == "success"


async def test_how_long_a_preview_lives(scene: Scene) -> None:
    async def ends() -> Any:
        env = await scene.environment()
        assert env is not None
        return env.desired.expires_at

    await scene.configure(ttl=3600.0, reconcile_every=86_400.0)
    scene.forge.open(42, A)
    await scene.hint()
    first = await ends()
    scene.forge.change(42, head_sha=B)
    await scene.hint()
    assert await ends() == first, "a push does not prolong it"
    await scene.command("extend 2d")
    longer = await ends()
    assert longer > first + timedelta(days=1)
    await scene.command("protect")
    assert await ends() is None
    await scene.command("unprotect")
    assert await ends() is not None
    await scene.world.engine.run_until_quiet(until=longer + timedelta(hours=1))
    assert await scene.shown() is None
    assert "redeploy" in scene.forge.comments[42]
    await scene.command("redeploy")
    assert await scene.shown() == B


async def test_to_redeploy_mends_what_somebody_broke(scene: Scene) -> None:
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    before = len(await scene.world.events(env.id))
    await scene.command("redeploy")
    after = await scene.world.events(env.id)
    assert "component_observed" in {each.type for each in after[before:]}
    assert await scene.shown() == A


async def test_what_strangers_may_name_means_nothing(scene: Scene) -> None:
    await scene.configure(inputs={"greeting": "of ${pr.branch}"})
    nasty = "../../x; rm -rf $(HOME) </details><script>@everyone"
    scene.forge.open(42, A, head_branch=nasty, title=nasty, author=nasty)
    await scene.hint()
    env = await scene.environment()
    assert env is not None
    assert env.name == "pr-42"
    assert env.desired.inputs["greeting"] == "of x-rm-rf-home-details-script-everyone"
    for said in (scene.forge.comments[42], scene.forge.statuses[A].summary):
        assert "script" not in said
        assert "@everyone" not in said


async def test_of_a_clock_that_is_set_back_the_forge_hears_nothing(scene: Scene) -> None:
    """What has been done waits anew, and not as long as the time that has been is yet to come again."""
    await scene.configure()
    scene.forge.open(42, A)
    await scene.hint()
    await scene.world.engine.run_until_quiet(until=scene.world.clock.now() + timedelta(minutes=4, seconds=30))
    scene.world.clock.advance(-timedelta(hours=5))
    await Reaper(scene.world.store, scene.world.executor, 60.0, WORKER, tuple).reap()
    asked = len(scene.forge.calls)
    for _ in range(60):
        await scene.world.engine.run_due()
        scene.world.clock.advance(timedelta(seconds=20))
    assert 2 <= scene.forge.calls[asked:].count("open_pulls") <= 5, "twenty minutes have passed"

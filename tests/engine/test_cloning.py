"""Clones: both twins in one transaction, the source held while it is copied, told when that is over."""

from __future__ import annotations

import io
import tarfile
from datetime import timedelta

import msgspec
import pytest

from twin.domain.blueprint_document import document
from twin.domain.errors import Conflict, Invalid, Rejected, Terminal
from twin.domain.identity import TWIN
from twin.domain.planner import plan
from twin.ports.store import StoredBlueprint
from twin.testing.blueprints import guestbook, guestbook_components
from twin.testing.world import World


async def source(world: World) -> str:
    env = await world.create("staging")
    await world.run_until_quiet()
    for each in world.outside.standing.values():
        each.data = "orders" if each.component == "db" else ""
    return env


async def clone(world: World, env: str, **fields) -> str:
    accepted = await send(world, env, **fields)
    return accepted.environment_id


async def send(world: World, env: str, key: str | None = None, **fields):
    from twin.domain.signals import parse

    signal = parse({"signal": "clone", "name": "pr-1", "tier": "dev", "data": "full", **fields})
    return await world.twins.send(env, signal, world.request(key))


def database(world: World, env: str):
    return next(s for s in world.outside.standing.values() if s.component == "db" and s.mark.endswith(env))


async def test_a_clone_begins_with_the_data_and_with_secrets_of_its_own(world: World) -> None:
    env = await source(world)
    accepted = await send(world, env)
    copy = accepted.environment_id
    await world.run_until_quiet()
    assert database(world, copy).data == "orders"
    assert database(world, copy).credentials[1] != database(world, env).credentials[1], "minted, never copied"
    assert (await world.operation(accepted.operation.id)).status == "succeeded"
    calls = [step for step, _ in world.outside.calls if step.startswith("db.")]
    assert calls[-2:] == ["db.seed", "db.apply"], "nobody may enter before the copy is finished"
    state = await world.env(copy)
    assert (state.tier, state.project) == ("dev", "shop")
    assert state.desired.seed.name == "staging"
    assert state.seeded["db"].point == "now"
    assert state.desired.seed.seq > 0, "the fork point is in the history"


async def test_the_source_keeps_what_is_copied_until_it_is(world: World) -> None:
    env = await source(world)
    world.outside.hold("db.seed")
    copy = await clone(world, env)
    await world.engine.run_due()
    gone = await world.send(env, "destroy")
    for _ in range(5):
        await world.engine.run_due()
    assert database(world, env).data == "orders", "the destruction waits"
    waiting = next(step for step in plan(await world.env(env)).steps if step.key.component == "db")
    assert "shop/pr-1" in waiting.waits_for
    assert not [s for s in world.outside.standing.values() if s.component == "app" and s.mark.endswith(env)], (
        "what is not copied does not wait"
    )
    world.outside.let_go("db.seed")
    await world.run_until_quiet()
    assert (await world.operation(gone)).status == "succeeded"
    assert database(world, copy).data == "orders", "and the clone lives on"
    assert not (await world.env(env)).holds


async def test_a_forced_destroy_does_not_wait_and_the_clone_fails(world: World) -> None:
    env = await source(world)
    world.outside.fail("db.seed", Terminal("the connection was cut for good"))
    world.outside.hold("db.seed")
    accepted = await send(world, env)
    gone = await world.send(env, "destroy", force=True)
    await world.run_until_quiet()
    assert (await world.operation(gone)).status == "succeeded"
    assert (await world.operation(accepted.operation.id)).status == "failed"


async def test_a_clone_of_what_is_gone_says_so(world: World) -> None:
    env = await source(world)
    world.outside.unreachable = True
    copy = await clone(world, env)
    await world.engine.run_due()
    world.outside.unreachable = False
    await world.send(env, "destroy", force=True)
    await world.run_until_quiet()
    state = await world.env(copy)
    (failure,) = [each for key, each in state.failures.items() if ":seed:" in key] or [None]
    assert failure is not None, "it can be copied no more"
    assert "gone" in failure.message


async def test_a_hold_ends_when_its_time_is_over(world: World) -> None:
    env = await source(world)
    world.outside.hold("db.seed")
    await clone(world, env, hold="2h")
    await world.engine.run_due()
    await world.send(env, "destroy")
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=1))
    assert (await world.env(env)).holds
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=2))
    assert (await world.env(env)).certificate is not None
    world.outside.let_go("db.seed")
    await world.run_until_quiet()


async def test_destroying_the_clone_lets_the_source_go(world: World) -> None:
    env = await source(world)
    world.outside.hold("db.seed")
    copy = await clone(world, env)
    await world.engine.run_due()
    await world.send(copy, "destroy")
    await world.send(env, "suspend")
    world.outside.let_go("db.seed")
    await world.run_until_quiet()
    assert (await world.env(copy)).certificate is not None
    assert not (await world.env(env)).holds
    assert (await world.view(env)).status == "suspended"


async def test_the_same_key_gives_the_same_clone(world: World) -> None:
    env = await source(world)
    first, again = await send(world, env, "key-1"), await send(world, env, "key-1")
    assert again.replayed
    assert again.environment_id == first.environment_id


async def test_a_taken_name_changes_nothing(world: World) -> None:
    env = await source(world)
    before = len(await world.events(env))
    with pytest.raises(Conflict):
        await send(world, env, name="staging")
    assert len(await world.events(env)) == before


async def test_a_dry_run_shows_the_clone_s_plan(world: World) -> None:
    from twin.domain.signals import parse

    env = await source(world)
    shown = await world.twins.dry_run(env, parse({"signal": "clone", "name": "pr-1", "data": "full"}), world.request())
    assert {step.verb for step in shown.steps} == {"seed", "apply"}
    assert len((await world.twins.all(world.request().by)).items) == 1, "nothing was created"


async def test_what_is_not_there_yet_cannot_be_copied(world: World) -> None:
    env = await world.create("staging")
    with pytest.raises(Rejected, match="not there yet"):
        await send(world, env)
    await send(world, env, data="none")


@pytest.mark.parametrize("data", ["full", "none"])
async def test_of_a_source_that_is_gone_it_says_that(world: World, data: str) -> None:
    env = await source(world)
    await world.send(env, "destroy")
    with pytest.raises(Rejected, match="is being destroyed") as going:
        await send(world, env, data=data)
    assert going.value.code == "destroying"
    await world.run_until_quiet()
    with pytest.raises(Rejected, match="is destroyed") as gone:
        await send(world, env, data=data)
    assert gone.value.code == "destroyed"


async def test_masked_needs_masking(world: World) -> None:
    env = await source(world)
    with pytest.raises(Rejected, match="how its data are masked"):
        await send(world, env, data="masked")


async def test_nobody_gives_ids(world: World) -> None:
    env = await source(world)
    with pytest.raises(Invalid, match="no such field"):
        await send(world, env, id="env_mine")


async def test_a_clone_follows_what_signals_made_of_its_source(world: World) -> None:
    env = await source(world)
    await world.send(env, "add_component", component="search", type="test.cache")
    await world.send(env, "remove_component", component="app")
    await world.send(env, "update", inputs={"greeting": "hi"})
    await world.run_until_quiet()
    state = await world.env(await clone(world, env))
    assert set(state.desired.components) == {"db", "cache", "jobs", "search"}
    assert state.desired.inputs["greeting"] == "hi"


async def with_masking(world: World) -> None:
    """Publish version 2.0.0 of the guestbook, which names what masks its database."""
    components = guestbook_components()
    components["db"]["masking"] = ["masking/people.sql"]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as bundle:
        entry = tarfile.TarInfo("masking/people.sql")
        entry.size = 6
        bundle.addfile(entry, io.BytesIO(b"DELETE"))
    stored = StoredBlueprint(
        name="guestbook",
        version="2.0.0",
        document=msgspec.json.encode(document(guestbook("2.0.0", components=components))),
        bundle="bundle-2.0.0",
        published_at=world.clock.now(),
        published_by=TWIN,
    )
    await world.store.transact(lambda tx: tx.put_blueprint(stored, archive.getvalue()))


async def test_masked_takes_the_scripts_out_of_the_bundle(world: World) -> None:
    await with_masking(world)
    env = await source(world)
    copy = await clone(world, env, data="masked")
    await world.run_until_quiet()
    assert ("db.seed", {"mode": "masked", "masking": ["masking/people.sql"]}) in world.outside.calls
    assert database(world, copy).data == "masked orders"


async def test_what_is_to_be_masked_keeps_its_masking_until_it_is_copied(world: World) -> None:
    await with_masking(world)
    env = await source(world)
    world.outside.hold("db.seed")
    copy = await clone(world, env, data="masked")
    await world.engine.run_due()
    with pytest.raises(Rejected, match=r"guestbook@1\.0\.0 names nothing that masks db") as refused:
        await world.send(copy, "update", blueprint="guestbook@1.0.0")
    assert refused.value.code == "no_masking"
    world.outside.let_go("db.seed")
    await world.run_until_quiet()
    await world.send(copy, "update", blueprint="guestbook@1.0.0")
    await world.run_until_quiet()
    assert database(world, copy).data == "masked orders"

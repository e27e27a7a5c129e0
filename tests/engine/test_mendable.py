"""What a human can mend must show as such and must strand nothing: secrets that do not open, targets that are wrong."""

from __future__ import annotations

import pytest

from twin.domain.errors import Blocked
from twin.ports.store import Tx
from twin.testing.blueprints import TARGETS
from twin.testing.world import World


async def spoil(world: World, environment: str, instance: str) -> dict[str, tuple[int, bytes]]:
    """Flip a byte of each secret of an instance; returns them as they were."""
    kept = await world.store.transact(lambda tx: tx.secrets(environment, instance))

    def flip(tx: Tx) -> None:
        for name, (version, sealed) in kept.items():
            tx.put_secret(environment, instance, version, name, sealed[:-1] + bytes([sealed[-1] ^ 1]))

    await world.store.transact(flip)
    return kept


async def test_a_secret_that_does_not_open_is_a_block_and_stops_no_removal(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    await spoil(world, env, "db@1")
    await world.send(env, "update", inputs={"greeting": "hi"})
    await world.run_until_quiet()
    view = await world.view(env)
    assert view.status == "blocked"
    assert view.conditions[0].block == "vault/unreadable"
    assert view.conditions[0].component == "app", "the app refers to the database's secret"
    destroy = await world.send(env, "destroy")
    await world.run_until_quiet()
    assert (await world.operation(destroy)).status == "succeeded", "to remove needs no secret"


async def test_with_the_secret_readable_again_the_block_is_resolved_and_it_goes_on(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    kept = await spoil(world, env, "db@1")
    update = await world.send(env, "update", inputs={"greeting": "hi"})
    await world.run_until_quiet()

    def restore(tx: Tx) -> None:
        for name, (version, sealed) in kept.items():
            tx.put_secret(env, "db@1", version, name, sealed)
        tx.resolve_block("vault/unreadable", world.request().by.actor)

    await world.store.transact(restore)
    await world.run_until_quiet()
    assert (await world.operation(update)).status == "succeeded"


async def test_a_target_that_was_missing_strands_nobody_once_it_is_there(world: World) -> None:
    env = await world.create()
    await world.store.transact(lambda tx: tx.drop_target("data-1"))
    await world.run_until_quiet()
    view = await world.view(env)
    assert (view.status, view.conditions[0].block) == ("blocked", "data-1/missing")
    data = next(target for target in TARGETS if target.name == "data-1")

    def add(tx: Tx) -> None:
        tx.put_target(data)
        tx.resolve_block("data-1/missing", world.request().by.actor)

    await world.store.transact(add)
    await world.run_until_quiet()
    assert (await world.view(env)).status == "ready", "nothing was ever made elsewhere"


@pytest.mark.parametrize("reached", [False, True])
async def test_an_address_may_be_corrected_until_something_may_stand_there(world: World, reached: bool) -> None:
    data = next(target for target in TARGETS if target.name == "data-1")

    def move(tx: Tx, host: str) -> None:
        tx.put_target(type(data)(name="data-1", provider="data", config={"host": host, "port": 1}))

    await world.store.transact(lambda tx: move(tx, "mistyped"))
    world.outside.identity = None
    world.outside.unreachable = not reached
    world.outside.fail("db.apply", *[ConnectionResetError("half way")] * reached)
    env = await world.create()
    await world.engine.run_due()
    await world.store.transact(lambda tx: move(tx, "right"))
    world.outside.unreachable = False
    await world.send(env, "retry")
    await world.engine.run_due()
    placements = {c.component: c for c in (await world.view(env)).conditions}
    if reached:
        assert placements["db"].block == "data-1/placement", "something half made may stand at the old address"
    else:
        assert placements == {}
        assert len([s for s in world.outside.standing.values() if s.component == "db"]) == 1


async def test_a_block_that_stops_nobody_any_more_is_no_news(world: World) -> None:
    world.outside.fail("db.apply", Blocked("no room", key="data-1/capacity", mend="add a disk"))
    env = await world.create()
    await world.run_until_quiet()
    assert [block.key for block in await world.store.blocks()] == ["data-1/capacity"]
    await world.send(env, "retry")
    await world.run_until_quiet()
    assert await world.store.blocks() == ()
    assert [block.key for block in await world.store.blocks(open_only=False)] == ["data-1/capacity"]

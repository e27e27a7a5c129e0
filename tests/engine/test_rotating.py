"""Rotation through store, engine and vault: which secrets are minted, given, kept and forgotten, and when."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from twin.domain.errors import Terminal, Transient
from twin.domain.rotation import live
from twin.service.credentials import Revealing
from twin.service.retired_credentials import MOST
from twin.testing.world import ADMIN, World


def standing(world: World, component: str):
    return next(each for each in world.outside.standing.values() if each.component == component)


async def kept(world: World, env: str, instance: str = "db@1") -> dict[int, set[str]]:
    """The names of what the vault keeps, by version."""
    found: dict[int, set[str]] = {}
    for version in range(1, 6):
        names = await world.store.transact(lambda tx, v=version: set(tx.secrets(env, instance, v)))
        if names:
            found[version] = names
    return found


async def test_consumers_change_over_while_both_are_valid_and_the_old_one_is_forgotten(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    first = standing(world, "db").credentials[1]
    await world.send(env, "rotate_credentials", component="db", grace="0s")
    world.outside.hold("app.apply")
    for _ in range(2):
        await world.engine.run_due()
    assert set(standing(world, "db").credentials) == {1, 2}, "while the app is applied both are valid"
    second = standing(world, "db").credentials[2]
    assert second != first
    assert second in standing(world, "app").inputs["env"]["DATABASE_URL"], "the app is given the new one"
    world.outside.let_go("app.apply")
    await world.run_until_quiet()
    assert standing(world, "db").credentials == {2: second}
    assert set(await kept(world, env)) == {2}, "what is retired is not kept"
    log = b"".join(each.body for each in await world.events(env))
    assert first.encode() not in log
    assert second.encode() not in log


async def test_retired_ones_are_told_of_the_newest_of_the_component_as_it_stands(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    revealing = Revealing(world.store, world.vault)
    by = world.request().by
    first = await revealing.all(env, by)
    assert {each.state for each in first} == {"current"}
    for _ in range(MOST + 1):
        world.clock.advance(timedelta(hours=1))
        await world.send(env, "rotate_credentials", component="db", grace="0s")
        await world.run_until_quiet()
    told = [each for each in await revealing.all(env, by) if each.component == "db"]
    assert [(each.version, each.state) for each in told] == [
        *((version, "retired") for version in range(2, MOST + 2)),
        (MOST + 2, "current"),
    ]
    for each, after in pairwise(told):
        assert each.issued_at is not None
        assert each.retired_at is not None
        assert each.superseded_at == after.issued_at
        assert each.issued_at < each.superseded_at <= each.retired_at
        assert each.used_by == ()
    await world.send(env, "remove_component", component="app")
    await world.run_until_quiet()
    assert [each.component for each in await revealing.all(env, by) if each.state == "retired"] == ["db"] * MOST


async def test_an_issue_that_failed_meets_its_own_password_again(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    world.outside.fail("db.issue", Transient("busy"))
    await world.send(env, "rotate_credentials", component="db", grace="0s")
    await world.engine.run_due()
    assert set(await kept(world, env)) == {1, 2}, "minted with the intent, before the call"
    minted = await world.store.transact(lambda tx: tx.secrets(env, "db@1", 2)["password"][1])
    await world.run_until_quiet()
    password = standing(world, "db").credentials[2]
    assert world.vault.unseal(env, "db@1", 2, "password", minted) == password


async def test_whoever_is_applied_while_one_is_being_issued_gets_the_one_that_is_valid(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    first = standing(world, "db").credentials[1]
    world.outside.hold("db.issue")
    await world.send(env, "rotate_credentials", component="db", grace="0s")
    await world.engine.run_due()
    await world.send(env, "update", inputs={"greeting": "hi"})
    await world.engine.run_due()
    assert first in standing(world, "app").inputs["env"]["DATABASE_URL"], "a password of tomorrow opens nothing today"
    world.outside.let_go("db.issue")
    await world.run_until_quiet()
    assert set(standing(world, "db").credentials) == {2}


async def test_scaling_in_the_middle_of_a_rotation_keeps_both(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    await world.send(env, "rotate_credentials", component="db", grace="1h")
    for _ in range(5):
        await world.engine.run_due()
    both = dict(standing(world, "db").credentials)
    assert set(both) == {1, 2}
    await world.send(env, "scale", component="db", connections=20)
    for _ in range(5):
        await world.engine.run_due()
    assert standing(world, "db").credentials == both
    assert set(await kept(world, env)) == {1, 2}
    world.clock.advance(timedelta(hours=1))
    await world.run_until_quiet()
    assert set(standing(world, "db").credentials) == {2}


async def test_resolving_what_still_stands_in_the_way_has_it_wait_for_a_human_again(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    world.outside.fail("app.apply", Terminal("no such image"))
    await world.send(env, "rotate_credentials", component="db", grace="0s")
    await world.run_until_quiet()
    (block,) = await world.store.blocks()
    assert block.key == "rotation/shop/dev/db"
    await world.store.transact(lambda tx: tx.resolve_block(block.key, ADMIN.actor))
    await world.run_until_quiet()
    assert [each.key for each in await world.store.blocks()] == [block.key], "raised again, since nothing was mended"
    assert await world.store.next_due() is None, "and once only: nothing is due"
    await world.send(env, "retry", component="app")
    await world.run_until_quiet()
    assert await world.store.blocks() == ()
    assert set(standing(world, "db").credentials) == {2}


async def test_what_was_applied_before_types_could_rotate_counts_as_issued(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    state = await world.env(env)
    assert [each.version for each in live(state.instances["db@1"])] == [1]
    assert live(state.instances["cache@1"]), "also where the type cannot: as it was last given out"
    assert set(await kept(world, env, "cache@1")) == {1}

"""The executor on the inline engine: intent, call, result, and what a crash between them leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.events import ResultRefused, StepStarted, StepSucceeded
from twin.domain.steps import StepKey
from twin.testing.inline import WORKER
from twin.testing.world import ADMIN, World


async def test_a_created_environment_becomes_ready_in_the_order_of_its_needs(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    view = await world.view(env)
    assert view.status == "ready"
    assert [step for step, _ in world.outside.calls][-1] == "app.apply", "the app needs all others"
    assert len(world.outside.standing) == 4, "each component stands once"


async def test_scale_while_creating_gives_one_plan(world: World) -> None:
    env = await world.create()
    world.outside.hold("db.apply")
    await world.engine.run_due()
    scale = await world.send(env, "scale", component="app", replicas=3)
    world.outside.let_go("db.apply")
    await world.run_until_quiet()
    replicas = [inputs["replicas"] for inputs in world.outside.applies("app")]
    assert replicas == [3], "a level is applied once, at its latest value"
    assert (await world.operation(scale)).status == "succeeded"


async def test_secrets_are_minted_before_the_call_and_given_to_those_who_refer_to_them(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    db = next(s for s in world.outside.standing.values() if s.component == "db")
    app = next(s for s in world.outside.standing.values() if s.component == "app")
    assert db.secrets["password"], "the database got a minted password"
    assert app.inputs["env"]["DATABASE_URL"] == db.secrets["url"], "the reference was resolved just before the call"
    log = b"".join(each.body for each in await world.events(env))
    assert db.secrets["password"].encode() not in log, "no event holds a secret"


async def test_a_crash_in_attempt_three_goes_on_at_attempt_three(world: World) -> None:
    env = await world.create()
    world.outside.fail("db.apply", Transient("first"), Transient("second"))
    world.outside.hold("db.apply")
    for _ in range(2):
        await world.engine.run_due()
        world.clock.advance(timedelta(minutes=2))
    await world.engine.run_due()
    key = next(k for k, running in (await world.env(env)).running.items() if running.key.component == "db")
    assert (await world.env(env)).running[key].attempt == 3
    (silent,) = [held for worker, held in await world.store.dead(-1.0) if worker == WORKER]
    for task in silent:
        await world.executor.lost(task, proven_dead=True)
    await world.store.transact(lambda tx: None)
    successor = world.make_executor("successor")
    (claimed,) = [t for t in await world.store.claim("successor", {"data-1": 9}, 9) if t.key == key]
    world.outside.let_go("db.apply")
    await successor.step(claimed)
    history = [each.event for each in await world.events(env)]
    attempts = [e.attempt for e in history if isinstance(e, StepStarted) and e.key.component == "db"]
    assert attempts == [1, 2, 3, 3], "a lost attempt does not count, and none before it is forgotten"
    assert next(e for e in history if isinstance(e, StepSucceeded) and e.key.component == "db").adopted, (
        "what the lost attempt had made was found and adopted"
    )


async def test_a_late_result_is_refused_and_recorded(world: World) -> None:
    env = await world.create()
    world.outside.hold("db.apply")
    await world.engine.run_due()
    for _, held in await world.store.dead(-1.0):
        for task in held:
            await world.executor.lost(task, proven_dead=False)
    world.outside.let_go("db.apply")
    await world.run_until_quiet()
    history = [each.event for each in await world.events(env)]
    refused = [event for event in history if isinstance(event, ResultRefused)]
    assert [event.key.component for event in refused] == ["db"], "the frozen worker's result came under an old epoch"
    assert (await world.view(env)).status == "ready", "its successor's result counts"


async def test_a_block_stops_three_twins_and_is_lifted_once(world: World) -> None:
    refusal = Blocked("role may not create", key="data-1/createdb", mend="ALTER ROLE twin CREATEDB")
    world.outside.fail("db.apply", refusal, refusal, refusal)
    envs = [await world.create(name) for name in ("one", "two", "three")]
    await world.run_until_quiet()
    views = [await world.view(env) for env in envs]
    assert {view.status for view in views} == {"blocked"}
    assert all("then: twin blocks resolve data-1/createdb" in view.summary for view in views)
    (block,) = await world.store.blocks()
    assert block.waiting == 3, "one block is shared by all that it stops"
    assert await world.store.next_due() is None, "waiting costs nothing: nothing is due"
    await world.store.transact(lambda tx: tx.resolve_block("data-1/createdb", ADMIN.actor))
    await world.run_until_quiet()
    assert {(await world.view(env)).status for env in envs} == {"ready"}


async def test_a_terminal_failure_names_its_cause_and_a_corrected_update_goes_on(world: World) -> None:
    world.outside.fail("app.apply", Terminal("no such image", field="image"))
    env = await world.create()
    await world.run_until_quiet()
    view = await world.view(env)
    assert (view.status, view.conditions[0].message) == ("failed", "no such image")
    update = await world.send(env, "update", inputs={"replicas": 2})
    await world.run_until_quiet()
    assert (await world.operation(update)).status == "succeeded"


async def test_another_server_under_the_same_target_is_blocked_and_never_taken_for_absence(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    world.outside.identity = "server-2"
    world.outside.standing.clear()
    await world.send(env, "destroy")
    await world.run_until_quiet()
    view = await world.view(env)
    assert view.certificate is None, "nobody has seen the old server"
    assert view.conditions[0].block == "run-1/placement"


async def test_destroy_removes_backwards_and_certifies_what_an_inventory_found_gone(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    destroy = await world.send(env, "destroy")
    await world.run_until_quiet()
    assert (await world.operation(destroy)).status == "succeeded"
    removed = [step for step, _ in world.outside.calls if step.endswith(".remove")]
    assert removed[0] == "app.remove", "what uses goes before what is used"
    certificate = (await world.view(env)).certificate
    assert certificate is not None
    assert {proof.instance for proof in certificate.resources} == {"db@1", "cache@1", "jobs@1", "app@1"}
    assert {inventory.placement.target for inventory in certificate.inventories} == {"data-1", "run-1"}
    secrets = await world.store.transact(lambda tx: tx.secrets(env, "db@1"))
    assert secrets == {}, "with the database its password is gone"


async def test_a_leftover_keeps_it_destroying_and_is_named(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    planted = next(iter(world.outside.standing.values()))
    world.outside.standing["planted"] = planted
    await world.send(env, "destroy")
    await world.run_until_quiet()
    view = await world.view(env)
    assert view.status == "destroying"
    assert any("planted" in name for name in view.leftovers)
    del world.outside.standing["planted"]
    await world.send(env, "retry")
    await world.run_until_quiet()
    assert (await world.view(env)).status == "destroyed"


async def test_a_cancelled_create_stops_what_runs_and_destroys(world: World) -> None:
    env = await world.create()
    world.outside.hold("db.apply")
    await world.engine.run_due()
    (create,) = (await world.env(env)).operations
    await world.send(env, "cancel", operation=create)
    await world.run_until_quiet()
    assert (await world.view(env)).status == "destroyed"
    assert world.outside.standing == {}, "also what was half made"


async def test_environments_expire_by_themselves(world: World) -> None:
    env = await world.create(ttl="2h")
    await world.run_until_quiet()
    assert (await world.view(env)).status == "destroyed", "the clock has run on to the expiry"
    assert world.clock.now() >= (await world.env(env)).created_at + timedelta(hours=2)


@pytest.mark.parametrize("signal", ["suspend"])
async def test_a_sleeping_twin_has_no_due_task(world: World, signal: str) -> None:
    env = await world.create()
    await world.run_until_quiet()
    await world.send(env, signal)
    await world.run_until_quiet()
    assert await world.store.next_due() is None
    assert (await world.view(env)).status == "suspended"


def test_step_keys_read_back() -> None:
    key = StepKey("postgres/local", 0, "sweep", "inventory")
    assert StepKey.parse(str(key)) == key

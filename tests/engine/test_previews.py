"""A dry run tells what each apply would change in the world, as far as that is known, and changes nothing itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.domain.targets import Target
from twin.engine.previewing import Previewing
from twin.ports.provider import UNKNOWN
from twin.ports.store import Tx
from twin.service.twins import Twins
from twin.service.views import PlanView, PreviewView
from twin.testing.blueprints import TYPES
from twin.testing.world import World

ADMIN = "the-admins-password"


async def asked_create(world: World, *, preview: bool = True) -> PlanView:
    create = parse({"signal": "create", "name": "dev", "project": "shop", "blueprint": "guestbook"})
    assert isinstance(create, Create)
    return await world.twins.dry_run_create(create, world.request(), preview=preview)


async def asked(world: World, env: str, signal: str, *, twins: Twins | None = None, **fields: Any) -> PlanView:
    given = parse({"signal": signal, **fields})
    return await (twins or world.twins).dry_run(env, given, world.request(), preview=True)


def previews(plan: PlanView) -> dict[str, PreviewView]:
    return {step.component: step.preview for step in plan.steps if step.preview is not None}


def told(plan: PlanView) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """By component: the kind and the fields of each change."""
    for component, preview in previews(plan).items():
        assert preview.error is None, (component, preview.error)
    return {name: [(each.kind, each.fields) for each in one.changes] for name, one in previews(plan).items()}


async def living(world: World) -> str:
    env = await world.create()
    await world.run_until_quiet()
    assert (await world.view(env)).status == "ready"
    return env


async def test_of_an_environment_that_is_not_there_what_others_give_is_known_after_apply(world: World) -> None:
    plan = await asked_create(world)
    changes = told(plan)
    assert changes.keys() == {"db", "app"}, "those whose type can tell"
    ((kind, fields),) = changes["app"]
    environment = {"DATABASE_URL": UNKNOWN, "CACHE_HOST": UNKNOWN, "GREETING": "hello"}
    assert (kind, fields["env"], fields["replicas"]) == ("create", str(environment), "1")
    ((kind, fields),) = changes["db"]
    assert kind == "create"
    assert UNKNOWN in fields["password"], "a secret that the twin would make"


async def test_it_changes_and_keeps_nothing(world: World) -> None:
    plan = await asked_create(world)
    assert world.outside.standing == {}
    assert {step for step, _ in world.outside.calls} == {"db.preview", "app.preview"}
    (page, _) = await asyncio.gather(world.store.entities("environment", live=False), world.store.queues())
    assert page.items == ()
    assert await world.store.sealed_otherwise(b"nothing begins so") == (), "nothing was minted"
    assert [step.key for step in plan.steps] == [step.key for step in (await asked_create(world, preview=False)).steps]


async def test_without_asking_no_provider_is_asked(world: World) -> None:
    assert previews(await asked_create(world, preview=False)) == {}
    assert world.outside.calls == []


async def test_an_update_is_told_by_its_fields_and_secrets_are_hidden(world: World) -> None:
    env = await living(world)
    url = next(each.secrets["url"] for each in world.outside.standing.values() if each.component == "db")
    before = len(await world.events(env))
    plan = await asked(world, env, "update", inputs={"greeting": "good morning", "replicas": 2})
    ((kind, fields),) = told(plan)["app"]
    assert (kind, fields["replicas"]) == ("update", "1 → 2")
    assert "good morning" in fields["env"]
    assert "'DATABASE_URL': '•••'" in fields["env"], "its real value was given, and is not told"
    assert url not in repr(plan)
    assert len(await world.events(env)) == before
    applied = world.outside.applies("app")
    assert [each["replicas"] for each in applied] == [1]


async def test_what_would_be_replaced_is_created_anew_and_its_users_do_not_know_its_values(world: World) -> None:
    env = await living(world)
    plan = await asked(world, env, "update", inputs={"engine": "17"}, allow_data_loss=True)
    changes = told(plan)
    assert [kind for kind, _ in changes["db"]] == ["create"], "another incarnation"
    assert f"'DATABASE_URL': '{UNKNOWN}'" in changes["app"][0][1]["env"]


async def test_a_clone_is_previewed_as_the_environment_that_it_would_be(world: World) -> None:
    env = await living(world)
    changes = told(await asked(world, env, "clone", name="pr-1", tier="preview", data="none", inputs={}))
    assert [kind for kind, _ in changes["db"] + changes["app"]] == ["create", "create"]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (Transient("the server restarts"), "transient", "the server restarts"),
        (Blocked("no permission", key="run-1/permission", mend="give it"), "blocked", "no permission"),
        (Terminal(f"bad url {ADMIN}", field="url", mend=f"not {ADMIN}"), "terminal", "bad url •••"),
        (RuntimeError(f"connect({ADMIN})"), "terminal", "RuntimeError: connect(•••)"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_one_that_fails_says_so_and_hinders_neither_the_plan_nor_the_others(
    world: World, error: Exception, kind: str, message: str
) -> None:
    def keep(tx: Tx) -> None:
        tx.put_target(Target(name="run-1", provider="run"))
        tx.put_secret("platform", "run-1", 1, "password", world.vault.seal("platform", "run-1", 1, "password", ADMIN))

    await world.store.transact(keep)
    world.outside.fail("app.preview", error)
    plan = await asked_create(world)
    assert len(plan.steps) == 4
    found = previews(plan)
    assert found["db"].changes
    told_error = found["app"].error
    assert told_error is not None
    assert told_error.kind == kind
    assert message in told_error.message
    assert ADMIN not in repr(plan)


async def test_another_server_is_not_taken_for_the_place_where_it_stands(world: World) -> None:
    env = await living(world)
    world.outside.identity = "server-2"
    found = previews(await asked(world, env, "scale", component="app", to={"replicas": 3}))["app"]
    assert found.error is not None
    assert (found.error.kind, found.changes) == ("blocked", ())
    assert "server-2" in found.error.message


async def test_one_that_hangs_ends_with_the_time_that_there_is(world: World) -> None:
    previewing = Previewing(world.store, TYPES, world.targets, world.vault, world.clock, deadline=0.2)
    twins = Twins(world.store, TYPES, world.changes, world.clock, previews=previewing)
    env = await living(world)
    world.outside.hold("app.preview")
    found = previews(await asked(world, env, "scale", twins=twins, component="app", to={"replicas": 3}))["app"]
    assert found.error is not None
    assert (found.error.kind, found.error.message) == ("transient", "no result within 0 s")


async def test_what_runs_already_is_not_asked_about(world: World) -> None:
    env = await living(world)
    world.outside.hold("app.apply")
    await world.send(env, "scale", component="app", to={"replicas": 3})
    await world.engine.run_due()
    plan = await asked(world, env, "protect")
    assert [(step.component, step.state, step.preview) for step in plan.steps] == [("app", "running", None)]
    world.outside.let_go("app.apply")
    await world.run_until_quiet()


async def test_what_stands_is_known_to_one_that_is_added(world: World) -> None:
    env = await living(world)
    inputs = {"env": {"APP": "${app.outputs.url}", "DATABASE_URL": "${db.secrets.url}"}}
    plan = await asked(world, env, "add_component", component="gate", type="test.service", inputs=inputs)
    ((kind, fields),) = told(plan)["gate"]
    assert kind == "create"
    assert "'APP': 'http://" in fields["env"]
    assert "'DATABASE_URL': '•••'" in fields["env"]

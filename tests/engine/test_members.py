"""Members: who is one gets access of their own to what can give it, and loses it with the membership."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twin.domain.errors import Blocked, Invalid, NotFound
from twin.testing.world import World


def people(world: World) -> dict[str, str]:
    return next(each.members for each in world.outside.standing.values() if each.component == "db")


async def test_members_come_and_go(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    members = [{"name": "ada@example.com"}, {"name": "bo", "role": "viewer"}]
    added = await world.send(env, "add_members", members=members)
    await world.run_until_quiet()
    assert people(world) == {"ada@example.com": "developer", "bo": "viewer"}
    assert (await world.operation(added)).status == "succeeded"
    removed = await world.send(env, "remove_members", names=["bo"])
    await world.run_until_quiet()
    assert people(world) == {"ada@example.com": "developer"}
    assert (await world.operation(removed)).status == "succeeded"
    secrets = await world.store.transact(lambda tx: set(tx.secrets(env, "db@1/access")))
    assert secrets == {"ada@example.com/password", "ada@example.com/url"}, "nothing is kept of who is gone"
    log = b"".join(each.body for each in await world.events(env))
    assert b"sim://" not in log, "no event holds a secret"


async def test_a_password_stays_the_same_when_others_come(world: World) -> None:
    env = await world.create()
    await world.send(env, "add_members", members=[{"name": "ada"}])
    await world.run_until_quiet()
    was = await opened(world, env, "ada/password")
    await world.send(env, "add_members", members=[{"name": "bo"}])
    await world.run_until_quiet()
    assert await opened(world, env, "ada/password") == was


async def opened(world: World, env: str, name: str) -> str:
    version, sealed = await world.store.transact(lambda tx: tx.secrets(env, "db@1/access")[name])
    return world.vault.unseal(env, "db@1/access", version, name, sealed)


async def test_a_membership_ends_by_itself(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    await world.send(env, "add_members", members=[{"name": "ada", "until": "8h"}, {"name": "bo"}])
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=7))
    assert set(people(world)) == {"ada", "bo"}
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=2))
    assert set(people(world)) == {"bo"}


async def test_a_replaced_component_gets_its_members_again(world: World) -> None:
    env = await world.create()
    await world.send(env, "add_members", members=[{"name": "ada"}])
    await world.run_until_quiet()
    await world.send(env, "update", inputs={"engine": "17"}, allow_data_loss=True)
    await world.run_until_quiet()
    assert set(people(world)) == {"ada"}


async def test_what_is_mended_is_granted_anew(world: World) -> None:
    env = await world.create()
    await world.send(env, "add_members", members=[{"name": "ada"}])
    await world.run_until_quiet()
    db = next(each for each in world.outside.standing.values() if each.component == "db")
    db.inputs["connections"] = 99
    db.members.clear()
    await world.send(env, "detect_drift")
    await world.run_until_quiet()
    assert set(people(world)) == {"ada"}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ([], "members"),
        ([{"name": " ada"}], "members[0].name"),
        ([{"name": "ada", "until": "2020-01-01T00:00:00Z"}], "members[0].until"),
        ([{"name": "ada", "until": "soon"}], "members[0].until"),
    ],
)
async def test_bad_members_are_named(world: World, members, field) -> None:
    env = await world.create()
    with pytest.raises(Invalid) as refused:
        await world.send(env, "add_members", members=members)
    assert refused.value.field == field


async def test_who_is_no_member_cannot_be_removed(world: World) -> None:
    env = await world.create()
    await world.send(env, "add_members", members=[{"name": "ada"}])
    with pytest.raises(NotFound, match="no member") as refused:
        await world.send(env, "remove_members", names=["adda"])
    assert "ada" in (refused.value.mend or "")


async def test_who_still_has_access_is_listed_until_it_is_gone_and_why_it_is_not(world: World) -> None:
    env = await world.create()
    await world.send(env, "add_members", members=[{"name": "ada"}, {"name": "bo"}])
    await world.run_until_quiet()
    mend = "as a superuser: DROP ROLE ada"
    world.outside.fail("db.grant", Blocked("ada's role stays", key="data/data-1/privilege", mend=mend))
    removed = await world.send(env, "remove_members", names=["ada"])
    await world.run_until_quiet()
    ada, bo = await world.personal_access.all(env, world.request().by)
    assert (ada.name, ada.of, ada.access) == ("ada", "nobody", {"db": "being taken away"})
    assert ada.waits == {"db": "blocked: ada's role stays"}
    assert (bo.name, bo.of, bo.access, bo.waits) == ("bo", "environment", {"db": "granted"}, {})
    assert (await world.operation(removed)).status == "running"
    assert set(people(world)) == {"ada", "bo"}, "it is as it says"

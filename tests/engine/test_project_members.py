"""Members of a project: each of its environments has them, and those to come too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.engine.test_members import opened
from twin.domain.errors import Forbidden, NotFound, Rejected
from twin.domain.project import PROJECT, project_id
from twin.engine.telling import Telling
from twin.ports.store import EventFilter
from twin.service.changes import LocalChanges
from twin.service.principals import Principal, Request
from twin.testing.world import ADMIN, World

SHOP = project_id("shop")


async def join(world: World, name: str, role="developer", until=None, project="shop"):
    return await world.project_members.set(project, name, world.request(), role=role, until=until)


def people(world: World, component: str = "db") -> list[dict[str, str]]:
    return [each.members for each in world.outside.standing.values() if each.component == component]


def as_(name: str, role: str = "viewer") -> Request:
    return Request(Principal(name, (("shop", role),)), "req-own")


async def test_every_environment_of_the_project_has_its_members(world: World) -> None:
    await world.create("one")
    two = await world.create("two")
    await world.create("elsewhere", project="other")
    await world.run_until_quiet()
    await join(world, "ada")
    await world.run_until_quiet()
    assert sorted(people(world), key=len) == [{}, {"ada": "developer"}, {"ada": "developer"}]
    await join(world, "ada", "viewer")
    await join(world, "bo")
    await world.run_until_quiet()
    assert people(world).count({"ada": "viewer", "bo": "developer"}) == 2
    await world.project_members.remove("shop", "ada", world.request())
    await world.run_until_quiet()
    assert people(world).count({"bo": "developer"}) == 2
    accepted = [each for each in await world.events(two) if each.type == "operation_accepted"]
    assert [each.event.operation.signal for each in accepted] == ["create", *["project_members"] * 3]
    assert accepted[-1].actor == ADMIN.actor, "what follows is of whoever changed the project"
    state = (await world.store.entity(PROJECT.kind, SHOP)).state
    assert state.told == state.generation == 4
    assert await world.store.next_due() is None, "then it sleeps"


async def test_an_environment_that_comes_later_has_them_at_once(world: World) -> None:
    await join(world, "ada", "viewer")
    env = await world.create()
    await world.run_until_quiet()
    assert people(world) == [{"ada": "viewer"}]
    assert [each.type for each in await world.events(env)].count("desired_changed") == 1, "in the creating transaction"
    source = await world.env(env)
    await world.send(env, "clone", name="copy", tier="dev", data="full")
    await world.run_until_quiet()
    assert people(world) == [{"ada": "viewer"}] * 2, "and so does a clone"
    assert source.desired.members == {}


async def test_what_the_environment_says_of_a_person_wins(world: World) -> None:
    env = await world.create()
    await join(world, "ada", "viewer")
    await world.send(env, "add_members", members=[{"name": "ada", "role": "admin", "until": "1h"}])
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(minutes=1))
    assert people(world) == [{"ada": "admin"}]
    (ada,) = await world.personal_access.all(env, ADMIN)
    assert (ada.of, ada.role, ada.access) == ("environment", "admin", {"db": "granted"})
    await world.run_until_quiet()
    assert people(world) == [{"ada": "viewer"}], "when that is over, the project's word counts again"
    (ada,) = await world.personal_access.all(env, ADMIN)
    assert (ada.of, ada.role, ada.until) == ("project", "viewer", None)


async def test_a_membership_ends_by_itself_everywhere(world: World) -> None:
    await world.create("one")
    await world.create("two")
    await join(world, "ada", until="8h")
    await join(world, "bo")
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=7))
    assert people(world).count({"ada": "developer", "bo": "developer"}) == 2
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(hours=2))
    assert people(world).count({"bo": "developer"}) == 2
    told = await world.store.events(EventFilter(entity=SHOP, type="memberships_ended"))
    assert [(each.event.names, each.actor.kind) for each in told.items] == [(("ada",), "timer")]


async def test_access_ends_also_where_destruction_waits_for_its_time(world: World) -> None:
    env = await world.create(tier="prod")
    await join(world, "ada")
    await world.run_until_quiet()
    await world.send(env, "unprotect")
    await world.send(env, "destroy")
    await world.project_members.remove("shop", "ada", world.request())
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(seconds=30))
    assert people(world) == [{}]
    await world.run_until_quiet()
    assert (await world.view(env)).status == "destroyed"
    await join(world, "bo")
    await world.run_until_quiet()
    assert (await world.env(env)).desired.project_members == {}, "who is gone is told nothing"


async def test_nobody_takes_a_change_of_the_project_back_in_one_environment(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    world.outside.hold("db.grant")
    await join(world, "ada")
    await world.run_until_quiet()
    (operation,) = (await world.view(env)).operations
    with pytest.raises(Rejected, match="said there"):
        await world.send(env, "cancel", operation=operation.id)
    world.outside.let_go("db.grant")
    await world.run_until_quiet()


class Dies(LocalChanges):
    """Hears of the first environment that is told, and no more."""

    def notify(self, entity: str) -> None:
        raise InterruptedError(entity)


async def test_a_worker_that_dies_while_telling_leaves_the_rest_to_the_next(world: World) -> None:
    """Each environment is a transaction of its own: what is told stays told, and is not told twice."""
    envs = [await world.create(name) for name in ("one", "two")]
    await world.run_until_quiet()
    await join(world, "ada")
    with pytest.raises(InterruptedError):
        await Telling(world.store, Dies()).tell(SHOP)
    told = [(await world.env(env)).desired.project_members for env in envs]
    assert sum(map(bool, told)) == 1
    await world.run_until_quiet()
    assert people(world) == [{"ada": "developer"}] * 2
    for env in envs:
        events = [each for each in await world.events(env) if each.type == "operation_accepted"]
        assert [each.event.operation.signal for each in events] == ["create", "project_members"]


async def test_a_member_sees_their_own_credentials_and_no_other_s(world: World) -> None:
    env = await world.create()
    await join(world, "ada", "viewer")
    await join(world, "bo")
    await world.run_until_quiet()
    own = await world.personal_access.reveal(env, "me", as_("ada"))
    password = await opened(world, env, "ada/password")
    assert own.variables["DB_PASSWORD"] == password
    assert own.variables["DB_URL"] == f"sim://ada:{password}@host"
    assert (own.person, own.role, own.pending) == ("ada", "viewer", ())
    with pytest.raises(Forbidden, match="are bo's"):
        await world.personal_access.reveal(env, "bo", as_("ada", "operator"))
    assert (await world.personal_access.reveal(env, "bo", as_("root", "admin"))).person == "bo"
    with pytest.raises(Forbidden) as refused:
        await world.personal_access.reveal(env, "me", as_("cy"))
    assert refused.value.code == "not_a_member"
    assert "twin member add shop/dev cy" in refused.value.mend
    with pytest.raises(NotFound):
        await world.personal_access.reveal(env, "me", Request(Principal("ada", (("other", "admin"),)), "r"))
    facts = await world.store.events(EventFilter(entity="platform", type="fact"))
    seen = [each.event.details for each in facts.items if each.event.what == "credentials_revealed"]
    assert [each["person"] for each in seen] == ["ada", "bo"]
    assert password.encode() not in b"".join(each.body for each in facts.items)


async def test_before_access_is_granted_it_is_said_what_it_waits_for(world: World) -> None:
    env = await world.create()
    await world.run_until_quiet()
    world.outside.hold("db.grant")
    await join(world, "ada")
    await world.run_until_quiet()
    assert [each.access for each in await world.personal_access.all(env, ADMIN)] == [{"db": "pending"}]
    with pytest.raises(Rejected) as refused:
        await world.personal_access.reveal(env, "me", as_("ada"))
    assert refused.value.code == "not_ready"
    world.outside.let_go("db.grant")
    await world.run_until_quiet()
    await world.project_members.remove("shop", "ada", world.request())
    with pytest.raises(NotFound):
        await world.project_members.remove("shop", "ada", world.request())


async def test_at_the_end_of_its_time_a_membership_reveals_nothing(world: World) -> None:
    """Also before the timer has come to it."""
    env = await world.create()
    await join(world, "ada", until="1h")
    await world.engine.run_until_quiet(until=world.clock.now() + timedelta(minutes=1))
    await world.personal_access.reveal(env, "me", as_("ada"))
    world.clock.move_to(world.clock.now() + timedelta(hours=1))
    with pytest.raises(Forbidden, match="no member"):
        await world.personal_access.reveal(env, "me", as_("ada"))

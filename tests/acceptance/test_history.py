"""The past: an environment `as_of` any time is the fold of what had happened by then, also after its destruction.

Lives are random: signals of every kind, steps that fail or are held in the middle, time that passes. What is asked of
the history is compared with two things: the snapshot that was seen at that moment, and the fold of the prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json
from twin.domain.decider import fold
from twin.domain.environment import Environment
from twin.domain.errors import Blocked, NotFound, Problem, Terminal, Transient
from twin.domain.operations import OperationAccepted
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import EventFilter, Recorded
from twin.service.rendering import environment_view
from twin.testing.blueprints import guestbook
from twin.testing.world import ADMIN, World, open_world

TICK = timedelta(microseconds=1)
PAUSE = timedelta(seconds=1)
STEPS = ("db.apply", "cache.apply", "jobs.apply", "app.apply", "app.suspend", "cache.observe", "db.remove")
FAILURES: dict[str, Callable[[], Exception]] = {
    "transient": lambda: Transient("the server restarts"),
    "blocked": lambda: Blocked("no permission", key="data/data-1/permission", mend="Grant it."),
    "terminal": lambda: Terminal("impossible"),
}

Action = tuple[str, dict[str, Any]]


def _action(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), st.fixed_dictionaries(fields))


components = st.sampled_from(("db", "cache", "jobs", "app", "extra"))
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    _action("scale", component=st.just("app"), replicas=st.integers(0, 6)),
    _action("update", inputs=st.fixed_dictionaries({"greeting": st.sampled_from(("hello", "hi", "good day"))})),
    _action("update", inputs=st.fixed_dictionaries({"region": st.sampled_from(("north", "south"))})),
    _action("update", blueprint=st.sampled_from(("guestbook@1.0.0", "guestbook@1.1.0"))),
    _action("update", labels=st.dictionaries(st.sampled_from(("team", "cost")), st.sampled_from(("a", "b")))),
    _action("add_component", component=st.just("extra"), type=st.just("test.cache")),
    _action("remove_component", component=st.just("extra")),
    _action("suspend"),
    _action("resume"),
    _action("extend", ttl=st.sampled_from(("2h", "never"))),
    _action("protect"),
    _action("unprotect"),
    _action("detect_drift"),
    _action("retry"),
    _action("cancel"),
    _action("destroy"),
    _action("~fail", step=st.sampled_from(STEPS), how=st.sampled_from(sorted(FAILURES))),
    _action("~hold", step=st.sampled_from(STEPS)),
    _action("~let_go"),
    _action("~work"),
    _action("~rest"),
)


class Moment(Struct, frozen=True):
    """What was seen at a time: the snapshot, and how many events there were."""

    at: datetime
    state: Environment
    seq: int


class Life:
    """One environment that random things happen to; every moment between two of them is noted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id = ""
        self.before = world.clock.now()
        self.moments: list[Moment] = []
        self._held: set[str] = set()

    async def live(self, actions: list[Action]) -> None:
        """From the creation through the actions to the proven end."""
        self.world.clock.advance(PAUSE)
        self.id = await self.world.create()
        await self._note()
        for name, fields in actions:
            await self._act(name, fields)
            await self._note()
        await self._end()

    async def _act(self, name: str, fields: dict[str, Any]) -> None:
        world = self.world
        match name:
            case "~fail":
                world.outside.fail(fields["step"], FAILURES[fields["how"]]())
            case "~hold":
                if fields["step"] not in self._held:
                    self._held.add(fields["step"])
                    world.outside.hold(fields["step"])
            case "~let_go":
                self._let_go()
            case "~work":
                await world.engine.run_due()
            case "~rest":
                await world.engine.run_until_quiet(until=world.clock.now() + timedelta(minutes=1))
            case _:
                await self._send(name, fields)

    async def _send(self, name: str, fields: dict[str, Any]) -> None:
        if name == "cancel":
            operations = list((await self.world.env(self.id)).operations)
            fields = {"operation": operations[-1] if operations else "op_none"}
        try:
            await self.world.send(self.id, name, **fields)
            event(f"accepted {name}")
        except Problem as refused:
            event(f"refused {name}: {refused.code}")

    def _let_go(self) -> None:
        for step in sorted(self._held):
            self.world.outside.let_go(step)
        self._held.clear()

    async def _note(self) -> None:
        row = await self.world.store.entity(ENVIRONMENT.kind, self.id)
        assert row is not None
        self.moments.append(Moment(self.world.clock.now(), row.state, row.seq))
        self.world.clock.advance(PAUSE)  # so that what comes next comes later

    async def _end(self) -> None:
        """Lift every block, clear every failure, destroy."""
        self._let_go()
        for signal in ("unprotect", "destroy", "retry"):
            await self._send(signal, {})
            await self._note()
        for _ in range(20):
            await self.world.run_until_quiet()
            await self._note()
            if (await self.world.env(self.id)).certificate is not None:
                return
            for block in await self.world.store.blocks():
                await self.world.store.transact(lambda tx, key=block.key: tx.resolve_block(key, ADMIN.actor))
            await self._send("retry", {})
        raise AssertionError(f"not destroyed: {(await self.world.view(self.id)).summary}")


async def events_of(world: World, environment: str) -> list[Recorded]:
    """All of them, over the pages."""
    found: list[Recorded] = []
    after: str | None = None
    while True:
        page = await world.store.events(EventFilter(entity=environment), limit=200, after=after)
        found.extend(page.items)
        if not page.items:
            return found
        after = page.next


async def check_past(life: Life) -> None:
    """Every moment that was seen, and every edge between two events, is told rightly by the history."""
    world, events = life.world, await events_of(life.world, life.id)
    assert [each.seq for each in events] == list(range(1, len(events) + 1))
    for moment in life.moments:
        past = await world.store.history(ENVIRONMENT.kind, life.id, until=moment.at)
        assert past == moment.state, f"at {moment.at}, as its snapshot was"
        assert past == fold(ENVIRONMENT, (each.event for each in events if each.at <= moment.at))
        assert moment.seq == sum(each.at <= moment.at for each in events)
    signalled = {each.at for each in events if isinstance(each.event, OperationAccepted)}
    for at in sorted({each.at for each in events}):
        instants = (at - TICK, at, at + TICK) if at in signalled else (at,)
        for instant in instants:
            expected = fold(ENVIRONMENT, (each.event for each in events if each.at <= instant))
            if expected is None:
                with pytest.raises(NotFound, match="was not there yet"):
                    await world.twins.at(life.id, instant, ADMIN)
                continue
            seen = await world.twins.at(life.id, instant, ADMIN)
            assert replace(seen, version=0) == environment_view(expected, 0, instant)
    with pytest.raises(NotFound, match="was not there yet"):
        await world.twins.at(life.id, life.before, ADMIN)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**16), actions=st.lists(ACTIONS, min_size=5, max_size=25))
async def test_the_past_of_a_random_life_is_the_fold_of_its_prefix(seed: int, actions: list[Action]) -> None:
    async with open_world(seed) as world:
        await world.publish(guestbook("1.1.0"))
        life = Life(world)
        await life.live(actions)
        await check_past(life)


def test_the_past_over_http(make_service: Start, tmp_path: Path) -> None:
    """Before, during and after each signal, also when the environment is gone; each answer folded here from events."""
    service = make_service()
    service.serve()
    service.publish(folder(tmp_path / "cached", {"cache": {"type": "redis.keyspace"}}, name="cached"))
    created = service.create("dev", "cached")
    path = f"/v1/environments/{created['environment_id']}"
    seen: list[Json] = []
    service.succeeded(created)
    for signal, fields in (
        ("protect", {}),
        ("update", {"labels": {"team": "a"}}),
        ("extend", {"ttl": "2h"}),
        ("suspend", {}),
        ("resume", {}),
        ("detect_drift", {}),
        ("unprotect", {}),
        ("destroy", {}),
    ):
        seen.append(service.get(path))
        service.succeeded(service.signal(created["environment_id"], signal, **fields))
    events = service.events(created["environment_id"])
    decoded = [
        ENVIRONMENT.decode_event(msgspec.json.encode({"type": each["type"], **each["data"]}), ENVIRONMENT.schema_v)
        for each in events
    ]
    times = [datetime.fromisoformat(each["at"]) for each in events]
    for at in sorted({instant for time in times for instant in (time - TICK, time, time + TICK)}):
        answer = service.api.get(path, params={"as_of": at.isoformat()})
        expected = fold(ENVIRONMENT, (each for each, time in zip(decoded, times, strict=True) if time <= at))
        if expected is None:
            assert answer.status_code == 404
            assert answer.json()["field"] == "as_of"
            assert "was not there yet" in answer.json()["detail"]
            continue
        view = msgspec.to_builtins(environment_view(expected, answer.json()["version"], at))
        assert answer.json() == msgspec.json.decode(msgspec.json.encode(view))
    for view in seen:  # between two signals nothing happened: the past of then is what was shown then
        at = times[view["version"] - 1]
        then = service.get(path, as_of=at.isoformat())
        told = ("version", "summary")
        assert {k: v for k, v in then.items() if k not in told} == {k: v for k, v in view.items() if k not in told}
    assert service.get(path)["status"] == "destroyed"

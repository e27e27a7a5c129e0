"""Progress is a fold of events over plans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from api.cli.progress import Ending, Progress, resting
from twin.domain.identity import TWIN
from twin.service.views import Condition, EnvironmentView, EventView, PlanView, StepView

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DB, APP = "db@1:apply:aa", "app@1:apply:bb"


def step(key: str, state: Any, *after: str, attempt: int = 0) -> StepView:
    component, verb = key.split("@")[0], key.split(":")[1]
    return StepView(
        key=key, component=component, verb=verb, target="t", why="", state=state, after=after, attempt=attempt
    )


def view(*steps: StepView, conditions: tuple[Condition, ...] = ()) -> EnvironmentView:
    return EnvironmentView(
        id="env_1",
        project="shop",
        name="dev",
        tier="dev",
        status="creating",
        summary="",
        version=1,
        blueprint="b@1",
        inputs={},
        labels={},
        generation=1,
        components=(),
        plan=PlanView(digest="", steps=steps),
        conditions=conditions,
        operations=(),
        created_at=NOW,
        created_by=TWIN,
    )


def event(type_: str, key: str | None = None, *, after: float = 0, **data: Any) -> EventView:
    if key is not None:
        instance, verb, digest = key.split(":")
        component, incarnation = instance.split("@")
        data["key"] = {"component": component, "incarnation": int(incarnation), "verb": verb, "digest": digest}
    return EventView(
        id="c",
        environment="env_1",
        project="shop",
        name="dev",
        tier="dev",
        seq=1,
        at=NOW + timedelta(seconds=after),
        actor=TWIN,
        type=type_,
        summary="",
        data=data,
    )


def test_what_a_running_step_says_stands_beside_it_until_it_ends() -> None:
    progress = Progress("op")
    told = replace(step(DB, "running"), progress="1 of 12")
    progress.see(view(told, step(APP, "waiting", DB)))
    assert shown(progress) == [("db", "running", "1 of 12"), ("app", "waiting", "after db")]
    progress.tell({DB: "7 of 12", APP: "from an attempt that has ended", "x@1:apply:cc": "unknown"})
    assert shown(progress) == [("db", "running", "7 of 12"), ("app", "waiting", "after db")]
    progress.hear(event("step_succeeded", DB))
    progress.tell({DB: "8 of 12"})
    assert shown(progress)[0] == ("db", "done", "")


def test_it_is_news_when_it_has_changed_and_some_time_after_the_last_news() -> None:
    progress = Progress("op")
    progress.see(view(step(DB, "running"), step(APP, "running")))
    assert progress.news(0.0) == [], "nothing is said"

    def news(at: float, **said: str) -> list[str]:
        progress.tell({{"db": DB, "app": APP}[name]: text for name, text in said.items()})
        return [f"{line.component}: {line.note}" for line in progress.news(at)]

    assert news(1.0, db="1 of 12") == ["db: 1 of 12"]
    assert news(2.0, db="2 of 12", app="half") == ["app: half"], "each step has a pace of its own"
    assert news(5.9, db="3 of 12") == []
    assert news(6.0) == ["db: 3 of 12"], "the last is not lost"
    assert news(60.0) == [], "the same is no news"


def shown(progress: Progress) -> list[tuple[str, str, str]]:
    return [(line.component, line.state, line.note) for line in progress.lines()]


def test_steps_run_wait_and_are_done() -> None:
    progress = Progress("op_1")
    progress.see(view(step(DB, "ready"), step(APP, "waiting", DB)))
    assert shown(progress) == [("db", "ready", ""), ("app", "waiting", "after db")]
    progress.hear(event("step_started", DB, attempt=1))
    progress.hear(event("step_succeeded", DB, after=3, adopted=True))
    progress.see(view(step(APP, "ready")))
    assert shown(progress) == [("db", "done", "found and adopted"), ("app", "ready", "")]
    done = progress.lines()[0]
    assert done.started_at is not None
    assert done.ended_at is not None
    assert (done.ended_at - done.started_at).total_seconds() == 3, "the service's clock counts, not ours"


def test_a_step_that_a_replanning_took_away_is_not_shown() -> None:
    progress = Progress("op_1")
    progress.see(view(step(DB, "ready"), step(APP, "waiting", DB)))
    progress.see(view(step(DB, "ready")))
    assert shown(progress) == [("db", "ready", "")]


def test_a_step_whose_end_is_heard_after_the_plan_was_seen_is_done() -> None:
    progress = Progress("op_1")
    progress.see(view(step(DB, "running")))
    progress.see(view())
    progress.hear(event("step_succeeded", DB))
    assert shown(progress) == [("db", "done", "")]


def test_a_step_that_waits_says_why() -> None:
    condition = Condition(
        kind="blocked",
        component="db",
        verb="apply",
        message="no CREATEDB",
        attempt=1,
        since=NOW,
        block="postgres/local/createdb",
    )
    progress = Progress("op_1")
    progress.see(view(step(DB, "blocked"), step(APP, "waiting", DB), conditions=(condition,)))
    assert shown(progress) == [("db", "blocked", "no CREATEDB"), ("app", "waiting", "after db")]
    assert progress.stuck, "nothing goes on before a human has mended it"
    progress.see(view(step(DB, "blocked"), step("jobs@1:apply:cc", "running"), conditions=(condition,)))
    assert not progress.stuck, "something still goes on"


def test_only_its_own_operation_ends_it() -> None:
    progress = Progress("op_1")
    progress.hear(event("operation_ended", operation_id="op_2", outcome="succeeded"))
    assert progress.ending is None
    by = {"kind": "token", "name": "ada"}
    progress.hear(event("operation_ended", operation_id="op_1", outcome="superseded", by=by))
    assert progress.ending == Ending("superseded", None, "token:ada")


def test_events_of_a_future_version_do_no_harm() -> None:
    progress = Progress("op_1")
    progress.hear(event("step_teleported", DB))
    progress.hear(replace(event("step_started"), data={}))
    assert progress.lines() == []


def test_looks_and_sweeps_end_as_well() -> None:
    progress = Progress("op_1")
    look, sweep = "db@1:observe:x", "postgres/local@0:sweep:y"
    progress.see(view(step(look, "running"), step(sweep, "running")))
    progress.hear(event("component_observed", look, drift={"connections": "20, not 10"}))
    progress.hear(event("placement_swept", sweep, found=[{"kind": "database"}]))
    assert shown(progress) == [("db", "done", "connections: 20, not 10"), ("postgres/local", "done", "1 left over")]


def test_what_only_time_or_somebody_outside_brings_on_is_not_waited_for() -> None:
    hour, soon = NOW + timedelta(hours=1), NOW + timedelta(seconds=59)
    graced = replace(step("db@1:retire:1", "waiting"), not_before=hour)
    outside = replace(step("cache@1:retire:3", "waiting"), waits_for="somebody outside")
    assert resting(view(graced, outside), NOW) == (graced, outside)
    assert resting(view(replace(graced, not_before=soon)), NOW) == (), "it is about to be"
    assert resting(view(graced), hour) == (), "its time has come"
    assert resting(view(graced, step(APP, "running")), NOW) == ()
    assert resting(view(replace(graced, state="blocked")), NOW) == ()
    assert resting(view(replace(step(APP, "waiting"), not_before=hour)), NOW) == (), "no work of a twin takes that long"
    assert resting(view(), NOW) == ()

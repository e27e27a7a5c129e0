"""Failures: what happens next is in their class. Nothing that was accepted is dropped."""

from datetime import timedelta

import pytest

from twin.domain.events import FailuresCleared, StepFailed, StepStarted
from twin.domain.identity import Actor
from twin.domain.operations import BlockRaised
from twin.domain.planner import plan
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import FailedTerminal, LiftBlock, StartStep, StepKey
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Story


@pytest.fixture
def story():
    story = Story()
    story.creation = story.create()
    return story


def waits(story, component):
    row = next(row for (_, key), row in story.rows.items() if key.startswith(f"{component}@"))
    return (row.due - story.now).total_seconds()


class TestTransient:
    def test_waits_grow_up_to_a_cap(self, story):
        seen = []
        for _ in range(9):
            story.fail(story.start("db:apply"))
            seen.append(waits(story, "db"))
            story.later(seconds=seen[-1])
        assert seen == [0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 45.0, 45.0, 45.0], "half fixed, half random (here 0.5)"
        assert story.start("db:apply").number == 10, "for as long as it takes"

    def test_what_a_server_asks_for_wins(self, story):
        story.fail(story.start("db:apply"), retry_after=300)
        assert waits(story, "db") == 300

    def test_it_is_not_started_before_its_time(self, story):
        attempt = story.start("db:apply")
        story.fail(attempt)
        early = StartStep(key=attempt.key, epoch=9, worker="w2", placement=story.placement("data-1"))
        assert story.give(early) == (), "a worker with an old lease may not"

    def test_the_others_go_on(self, story):
        story.fail(story.start("db:apply"))
        assert story.work() == ["cache@1:apply", "jobs@1:apply"], "app alone waits for db"
        assert status(story.env) == "creating", "it will pass by itself"
        story.later(seconds=1)
        assert story.work() == ["db@1:apply", "app@1:apply"]
        assert story.outcome(story.creation) == "succeeded"

    def test_success_forgets(self, story):
        story.fail(story.start("db:apply"))
        story.later(seconds=1)
        story.work()
        assert (story.env.failures, story.env.attempts) == ({}, {})

    def test_retry_ends_the_wait_and_keeps_the_count(self, story):
        story.fail(story.start("db:apply"), retry_after=3600)
        story.send(Retry(component="db"))
        assert story.start("db:apply").number == 2

    def test_another_digest_starts_at_one(self, story):
        story.fail(story.start("db:apply"), retry_after=3600)
        story.send(Scale(component="db", to={"connections": 11}))
        assert story.start("db:apply").number == 1, "and at once: the wait was for the other"


class TestCrashes:
    def test_a_crash_in_attempt_three_goes_on_at_three(self, story):
        for _ in range(2):
            story.fail(story.start("db:apply"))
            story.later(minutes=1)
        attempt = story.start("db:apply")
        assert attempt.number == 3
        story.lose(attempt)
        again = story.start("db:apply", worker="w2")
        assert (again.number, again.epoch > attempt.epoch) == (3, True)

    def test_to_be_stopped_does_not_count_either(self, story):
        story.stop(story.start("db:apply"))
        assert story.start("db:apply").number == 1

    def test_five_deaths_ask_for_a_human(self, story):
        for _ in range(4):
            story.lose(story.start("db:apply"))
        assert story.happened(BlockRaised) == []
        story.lose(story.start("db:apply"))
        (raised,) = story.happened(BlockRaised)
        assert raised.key == "deaths/shop/dev/db"
        assert status(story.env) == "blocked"
        story.resolve(raised.key)
        story.lose(story.start("db:apply"))
        assert status(story.env) == "creating", "after that the count begins anew"

    def test_a_success_between_deaths_forgives(self, story):
        for _ in range(4):
            story.lose(story.start("db:apply"))
        story.fail(story.start("db:apply"))
        story.later(minutes=1)
        story.lose(story.start("db:apply"))
        assert story.happened(BlockRaised) == [], "deaths count in a row"


class TestBlocked:
    def test_only_what_depends_on_it_waits(self, story):
        story.block(story.start("db:apply"))
        assert story.work() == ["cache@1:apply", "jobs@1:apply"]
        assert status(story.env) == "blocked"
        assert story.outcome(story.creation) is None, "it is not lost, it waits"
        story.later(days=30)
        assert story.work() == [], "at no cost: no poll, no timer"

    def test_it_is_lifted_once(self, story):
        story.block(story.start("db:apply"))
        story.resolve("data/data-1/quota")
        assert len(story.happened(FailuresCleared)) == 1
        assert story.give(LiftBlock("data/data-1/quota"), by=Actor("twin", "twin")) == ()
        story.work()
        assert story.outcome(story.creation) == "succeeded"

    def test_one_block_stops_several(self, story):
        story.block(story.start("db:apply"))
        story.block(story.start("cache:apply"))
        assert [key for kind, key in story.rows if kind == "block"] == ["data/data-1/quota"]
        story.resolve("data/data-1/quota")
        assert {key.split("@")[0] for key in story.due()} == {"cache", "db", "jobs"}

    def test_raised_again_it_waits_again(self, story):
        story.block(story.start("db:apply"))
        story.resolve("data/data-1/quota")
        story.block(story.start("db:apply"))
        assert story.start("jobs:apply")
        assert "data/data-1/quota" in {key for _, key in story.rows}

    def test_resolved_while_suspended_it_is_not_missed(self, story):
        story.block(story.start("db:apply"))
        story.send(Suspend())
        story.resolve("data/data-1/quota")
        story.send(Resume())
        story.work()
        assert story.outcome(story.creation) == "succeeded"

    def test_resolved_while_it_is_not_its_turn_it_is_not_missed(self, story):
        story.work(until="app:apply")
        story.block(story.start("app:apply"), "run/run-1/capacity")
        story.send(Scale(component="db", to={"connections": 20}))
        attempt = story.start("db:apply")
        story.resolve("run/run-1/capacity")
        story.succeed(attempt)
        assert story.work() == ["app@1:apply"]

    def test_what_is_no_longer_wanted_blocks_no_longer(self, story):
        story.block(story.start("db:apply"))
        story.send(Scale(component="db", to={"connections": 11}))
        assert [key for kind, key in story.rows if kind == "block"] == []

    def test_retry_goes_on_without_the_block_being_resolved(self, story):
        story.block(story.start("db:apply"))
        retry = story.send(Retry())
        story.work()
        assert (story.outcome(story.creation), story.outcome(retry)) == ("succeeded", "succeeded")
        assert story.happened(FailuresCleared)[0].operation_id == retry


class TestTerminal:
    def test_the_operation_fails_with_the_cause(self, story):
        story.reject(story.start("db:apply"), "no engine 16 here", field="engine")
        assert story.outcome(story.creation) == "failed"
        error = story.ended[story.creation].error
        assert (error.code, error.component, error.field) == ("terminal", "db", "engine")
        assert (error.message, error.mend) == ("no engine 16 here", "ask for something else")
        assert status(story.env) == "failed"

    def test_it_is_not_tried_again(self, story):
        story.reject(story.start("db:apply"))
        assert story.work() == ["cache@1:apply", "jobs@1:apply"]
        story.later(days=1)
        assert story.work() == []

    def test_a_dependants_operation_fails_with_it(self, story):
        wish = story.send(Scale(component="app", to={"replicas": 2}))
        story.reject(story.start("db:apply"))
        assert story.outcome(wish) == "failed"
        assert story.ended[wish].error.component == "db", "the cause, not the one that waited"
        late = story.send(Scale(component="app", to={"replicas": 3}))
        assert story.outcome(late) == "failed", "accepted, and out of reach already"

    def test_who_does_not_depend_on_it_succeeds(self, story):
        story.reject(story.start("db:apply"))
        wish = story.send(Scale(component="cache", to={"megabytes": 32}))
        story.work()
        assert story.outcome(wish) == "succeeded"

    def test_a_corrected_update_goes_on(self, story):
        story.reject(story.start("db:apply"))
        update = story.send(Update(inputs={"engine": "17"}))
        done = story.work()
        assert done.index("db@2:apply") < done.index("db@1:remove"), "what may stand half made goes as well"
        assert story.outcome(update) == "succeeded"
        assert status(story.env) == "ready"

    def test_retry_goes_on_and_keeps_the_count(self, story):
        story.reject(story.start("db:apply"))
        retry = story.send(Retry(component="db"))
        attempt = story.start("db:apply")
        assert attempt.number == 2
        story.succeed(attempt)
        assert story.outcome(retry) == "succeeded"

    def test_a_look_that_fails_is_tried_at_the_next_one(self, story):
        story.work()
        look = story.send(DetectDrift(component="db"))
        story.reject(story.start("db:observe"))
        assert story.outcome(look) == "failed"
        again = story.send(DetectDrift(component="db"))
        story.work()
        assert story.outcome(again) == "succeeded"

    def test_a_destruction_that_fails_goes_on_by_retry(self, story):
        story.work()
        destroy = story.send(Destroy())
        story.reject(story.start("app:remove"))
        assert story.outcome(destroy) == "failed"
        assert status(story.env) == "destroying"
        retry = story.send(Retry())
        story.work()
        assert story.outcome(retry) == "succeeded"
        assert status(story.env) == "destroyed"

    def test_while_it_runs_again_nothing_is_judged(self, story):
        story.reject(story.start("db:apply"))
        story.send(Retry())
        story.start("db:apply")
        wish = story.send(Scale(component="app", to={"replicas": 2}))
        assert story.outcome(wish) is None


class TestPolicy:
    @pytest.fixture
    def bounded(self):
        def with_policy(**policy):
            components = guestbook_components()
            components["db"]["policy"] = policy
            story = Story(make_library(guestbook(components=components)))
            story.create()
            return story

        return with_policy

    def test_so_many_attempts(self, bounded):
        story = bounded(attempts=2)
        story.fail(story.start("db:apply"))
        story.later(minutes=1)
        story.fail(story.start("db:apply"), "still no answer")
        failure = next(iter(story.env.failures.values()))
        assert (failure.kind, failure.block) == ("blocked", "policy/shop/dev/db")
        assert failure.message == "still no answer (given up after 2 attempts, the component's policy)"
        assert "twin retry shop/dev" in failure.mend

    def test_a_retry_grants_the_bound_anew(self, bounded):
        story = bounded(attempts=2)
        for _ in range(2):
            story.fail(story.start("db:apply"))
            story.later(minutes=1)
        story.send(Retry())
        story.fail(story.start("db:apply"))
        (failure,) = story.env.failures.values()
        assert failure.kind == "transient", "whoever looked at it allows two attempts again"

    def test_so_much_time(self, bounded):
        story = bounded(within="10m")
        story.fail(story.start("db:apply"))
        story.later(minutes=9)
        story.fail(story.start("db:apply"))
        assert story.happened(BlockRaised) == []
        story.later(minutes=1)
        story.fail(story.start("db:apply"))
        assert "given up after 600 s" in story.happened(BlockRaised)[0].message

    def test_deaths_are_no_attempts(self, bounded):
        story = bounded(attempts=2)
        for _ in range(3):
            story.lose(story.start("db:apply"))
        story.fail(story.start("db:apply"))
        assert story.happened(BlockRaised) == []


def test_an_attempt_knows_whom_it_serves_and_by_when(story):
    story.work(until="app:apply")
    wish = story.send(Scale(component="app", to={"replicas": 2}))
    story.start("app:apply")
    started = story.happened(StepStarted)[-1]
    assert started.operations == (story.creation, wish)
    assert started.deadline == story.now + timedelta(seconds=300), "its type's deadline"
    assert started.uses == ("cache@1", "db@1", "jobs@1")


def test_a_step_that_is_not_due_is_not_started(story):
    outdated = StepKey("db", 1, "apply", "another digest")
    too_early = next(step.key for step in plan(story.env).steps if step.key.component == "app")
    for key in (outdated, too_early):
        assert story.give(StartStep(key=key, epoch=1, worker="w1", placement=story.placement("run-1"))) == ()


def test_a_failure_is_an_event(story):
    attempt = story.start("db:apply")
    (event, *_) = story.end(attempt, FailedTerminal(message="no"))
    assert isinstance(event, StepFailed)
    assert (event.attempt, event.operations) == (1, (story.creation,))

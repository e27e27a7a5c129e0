"""suspend and resume: cost stops, data stays, wishes wait."""

import pytest

from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.resume import Resume
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.testing.story import Story


@pytest.fixture
def story():
    story = Story()
    story.creation = story.create(tier="preview")
    story.work()
    return story


@pytest.fixture
def asleep(story):
    story.send(Suspend())
    story.work()
    return story


def test_what_can_be_suspended_is(story):
    operation = story.send(Suspend())
    assert status(story.env) == "updating"
    assert story.work() == ["app@1:suspend"], "a database keeps standing"
    assert story.outcome(operation) == "succeeded"
    assert status(story.env) == "suspended"
    assert {kind for kind, _ in story.rows} == {"timer"}, "only its TTL is left"


def test_resume_brings_it_back(asleep):
    operation = asleep.send(Resume())
    assert asleep.work() == ["app@1:apply"]
    assert asleep.outcome(operation) == "succeeded"
    assert status(asleep.env) == "ready"


def test_signals_wait_for_resume_and_are_one_plan(asleep):
    operations = [
        asleep.send(Scale(component="app", to={"replicas": 3})),
        asleep.send(Update(inputs={"greeting": "hi"})),
        asleep.send(Scale(component="db", to={"connections": 20})),
    ]
    assert asleep.work() == []
    assert [asleep.outcome(each) for each in operations] == [None, None, None]
    asleep.send(Resume())
    assert asleep.work() == ["db@1:apply", "app@1:apply"]
    assert {asleep.outcome(each) for each in operations} == {"succeeded"}


def test_a_removal_waits_too(asleep):
    operation = asleep.send(RemoveComponent(component="app"))
    assert asleep.work() == []
    assert asleep.outcome(operation) is None
    asleep.send(Resume())
    assert asleep.work() == ["app@1:remove"]
    assert asleep.outcome(operation) == "succeeded"


def test_a_look_waits_too(asleep):
    operation = asleep.send(DetectDrift(component="app"))
    assert asleep.work() == []
    assert asleep.outcome(operation) is None, "nobody has looked"
    asleep.send(Resume())
    assert asleep.work() == ["app@1:apply", "app@1:observe"]
    assert asleep.outcome(operation) == "succeeded"


def test_the_ttl_fires_all_the_same(asleep):
    asleep.later(hours=24)
    asleep.work()
    assert status(asleep.env) == "destroyed"


def test_suspended_while_creating():
    story = Story()
    creation = story.create()
    database = story.start("db:apply")
    operation = story.send(Suspend())
    assert story.outcome(operation) == "succeeded", "nothing stands that could be suspended"
    assert story.due() == [], "what was not started waits"
    story.succeed(database)
    assert story.work() == []
    assert story.outcome(creation) is None
    story.send(Resume())
    story.work()
    assert story.outcome(creation) == "succeeded"
    assert status(story.env) == "ready"


def test_suspended_while_the_app_is_made():
    story = Story()
    story.create()
    story.work(until="app:apply")
    attempt = story.start("app:apply")
    operation = story.send(Suspend())
    assert story.outcome(operation) is None, "it will stand in a moment"
    story.succeed(attempt)
    assert story.work() == ["app@1:suspend"]
    assert story.outcome(operation) == "succeeded"


def test_resume_supersedes_suspend(story):
    suspend = story.send(Suspend())
    resume = story.send(Resume())
    assert story.outcome(suspend) == "superseded"
    assert story.outcome(resume) == "succeeded"
    assert story.work() == []


@pytest.mark.parametrize("end", ["stop", "lose", "fail"])
def test_a_suspension_that_was_begun_is_undone(story, end):
    """It may have had its effect: resume brings back what may have been stopped."""
    story.send(Suspend())
    getattr(story, end)(story.start("app:suspend"))
    story.send(Resume())
    assert story.work() == ["app@1:apply"]


@pytest.mark.parametrize("end", ["stop", "lose", "fail"])
def test_a_resumption_that_was_begun_is_undone(asleep, end):
    asleep.send(Resume())
    getattr(asleep, end)(asleep.start("app:apply"))
    operation = asleep.send(Suspend())
    assert asleep.work() == ["app@1:suspend"]
    assert asleep.outcome(operation) == "succeeded"


def test_suspended_twice_and_resumed_when_awake_is_done_at_once(asleep):
    assert asleep.outcome(asleep.send(Suspend())) == "succeeded"
    asleep.send(Resume())
    asleep.work()
    assert asleep.outcome(asleep.send(Resume())) == "succeeded"

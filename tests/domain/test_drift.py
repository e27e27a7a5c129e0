"""detect_drift and observe_every: the world is looked at, and what differs is mended; lost data is not made up."""

import pytest

from twin.domain.errors import UnknownComponent
from twin.domain.operations import BlockRaised
from twin.domain.planner import plan
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.retry import Retry
from twin.domain.signals.scale import Scale
from twin.domain.status import status
from twin.domain.steps import Looked
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Story

GONE = Looked(present=False)


@pytest.fixture
def story():
    components = guestbook_components()
    components["jobs"]["observe_every"] = "1h"
    story = Story(make_library(guestbook(components=components)))
    story.create()
    story.work()
    return story


def test_all_is_looked_at(story):
    operation = story.send(DetectDrift())
    assert status(story.env) == "ready", "to look is not to change"
    assert story.work() == [f"{name}@1:observe" for name in ("app", "cache", "db", "jobs")]
    assert story.outcome(operation) == "succeeded"
    assert plan(story.env).steps == (), "all is as applied"


def test_what_differs_is_mended(story):
    operation = story.send(DetectDrift(component="app"))
    story.end(story.start("app:observe"), Looked(present=True, drift={"replicas": "2 run, 1 is wanted"}))
    assert story.outcome(operation) == "succeeded", "it was looked at"
    assert story.env.instances["app@1"].drift
    assert [step.why for step in plan(story.env).steps] == ["drift: replicas: 2 run, 1 is wanted"]
    assert story.work() == ["app@1:apply"]
    assert not story.env.instances["app@1"].drift


def test_what_is_gone_and_held_no_data_is_made_anew(story):
    story.send(DetectDrift(component="app"))
    story.end(story.start("app:observe"), GONE)
    assert story.work() == ["app@1:apply"]


def test_who_is_unknown_is_not_looked_at(story):
    with pytest.raises(UnknownComponent):
        story.send(DetectDrift(component="apps"))


def test_a_look_while_creating_comes_after_the_creation():
    story = Story()
    story.create()
    operation = story.send(DetectDrift(component="app"))
    assert story.outcome(operation) is None, "there is nothing yet to look at"
    assert story.work()[-2:] == ["app@1:apply", "app@1:observe"]
    assert story.outcome(operation) == "succeeded"


def test_a_later_look_serves_the_earlier_wish_too(story):
    first, second = story.send(DetectDrift(component="app")), story.send(DetectDrift())
    assert story.work().count("app@1:observe") == 1
    assert (story.outcome(first), story.outcome(second)) == ("succeeded", "succeeded")


def test_some_are_looked_at_by_the_clock(story):
    story.later(minutes=59)
    assert story.work() == []
    story.later(minutes=1)
    assert story.work() == ["jobs@1:observe"]
    story.later(hours=1)
    assert story.work() == ["jobs@1:observe"]


class TestLostData:
    @pytest.fixture
    def lost(self, story):
        story.send(DetectDrift(component="db"))
        story.end(story.start("db:observe"), GONE)
        return story

    def test_a_human_decides(self, lost):
        assert status(lost.env) == "blocked"
        assert lost.work() == []
        (raised,) = lost.happened(BlockRaised)
        assert (raised.key, raised.component, raised.owner) == ("missing/shop/dev/db", "db", "project shop")
        assert "twin retry shop/dev db" in raised.mend

    def test_retry_makes_it_anew(self, lost):
        operation = lost.send(Retry(component="db"))
        assert lost.work() == ["db@1:apply"]
        assert lost.outcome(operation) == "succeeded"

    def test_so_does_the_resolved_block(self, lost):
        lost.resolve("missing/shop/dev/db")
        assert lost.work() == ["db@1:apply"]

    def test_nothing_else_makes_it_anew(self, lost):
        operation = lost.send(Scale(component="db", to={"connections": 20}))
        assert lost.work() == [], "another digest is no consent"
        assert lost.outcome(operation) is None
        lost.send(Retry())
        assert lost.work() == [], "neither is a retry that may have been meant for something else"
        lost.send(Retry(component="db"))
        assert lost.work() == ["db@1:apply"]
        assert lost.outcome(operation) == "succeeded"

    def test_a_change_while_it_is_looked_at_neither(self, story):
        story.send(DetectDrift(component="db"))
        attempt = story.start("db:observe")
        story.send(Scale(component="db", to={"connections": 20}))
        story.end(attempt, GONE)
        assert story.work() == []
        assert status(story.env) == "blocked"

    def test_another_look_is_no_consent_either(self, lost):
        lost.send(DetectDrift(component="db"))
        assert lost.work() == []
        assert status(lost.env) == "blocked"

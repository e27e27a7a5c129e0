"""create, scale, and how they merge: desired is a level, so only the latest counts."""

import pytest

from twin.domain.errors import Conflict, Invalid, NotFound, OutOfBounds, UnknownComponent
from twin.domain.events import BecameReady
from twin.domain.planner import plan
from twin.domain.signals.create import Create
from twin.domain.signals.scale import Scale
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.testing.blueprints import guestbook, make_library
from twin.testing.story import BOB, Story, keys_of


@pytest.fixture
def story():
    story = Story()
    story.creation = story.create()
    return story


def scale(to, component="app"):
    return Scale(component=component, to={"replicas": to})


def test_a_created_environment_applies_what_is_used_before_what_uses_it(story):
    assert keys_of(plan(story.env).steps) == ["app@1:apply", "cache@1:apply", "db@1:apply", "jobs@1:apply"]
    assert {key.split("@")[0] for key in story.due()} == {"cache", "db", "jobs"}, "the independent run in parallel"
    assert status(story.env) == "creating"
    assert story.work() == ["cache@1:apply", "db@1:apply", "jobs@1:apply", "app@1:apply"]
    assert story.outcome(story.creation) == "succeeded"
    assert status(story.env) == "ready"
    assert len(story.happened(BecameReady)) == 1
    assert story.rows == {}, "a twin at rest without TTL is rows and no more"


def test_all_defaults_are_made_explicit(story):
    assert story.env.desired.inputs == {
        "replicas": 1,
        "greeting": "hello",
        "engine": "16",
        "zone": "a",
        "region": "north",
    }
    assert story.env.desired.components["db"].inputs == {"engine": "16", "connections": 10}


def test_scale_while_creating_gives_one_plan(story):
    story.work(until="app:apply")
    wish = story.send(scale(3))
    assert len([key for key in story.due() if key.startswith("app")]) == 1
    attempt = story.start("app:apply")
    assert attempt.inputs["replicas"] == 3, "a level is applied once, at its latest value"
    story.succeed(attempt)
    assert story.work() == []
    assert (story.outcome(story.creation), story.outcome(wish)) == ("succeeded", "succeeded")


def test_scale_during_the_attempt_lets_it_finish_and_goes_on(story):
    story.work(until="app:apply")
    first = story.start("app:apply")
    wish = story.send(scale(3))
    assert story.due() == [], "one attempt at a time on an instance"
    story.succeed(first)
    assert story.outcome(story.creation) is None, "what runs now is not what is desired"
    second = story.start("app:apply")
    assert (second.inputs["replicas"], second.number) == (3, 1), "another digest starts at attempt 1"
    story.succeed(second)
    assert (story.outcome(story.creation), story.outcome(wish)) == ("succeeded", "succeeded")


def test_the_last_scale_supersedes_those_before(story):
    story.work()
    operations = [story.send(scale(2)), story.send(scale(4)), story.send(scale(3), by=BOB)]
    assert [story.outcome(each) for each in operations] == ["superseded", "superseded", None]
    ended = story.ended[operations[1]]
    assert (ended.by_operation, ended.by) == (operations[2], BOB), "the one that gave way learns to whom"
    assert story.work() == ["app@1:apply"], "2, 4 and 3 are one plan"
    assert story.env.current("app").inputs["replicas"] == 3
    assert story.outcome(operations[2]) == "succeeded"


def test_the_same_scale_twice_is_two_operations_and_one_step(story):
    story.work()
    operations = [story.send(scale(2)), story.send(scale(2))]
    assert story.work() == ["app@1:apply"]
    assert [story.outcome(each) for each in operations] == ["succeeded", "succeeded"]
    again = story.send(scale(2))
    assert story.outcome(again) == "succeeded", "it is so already"


def test_scales_of_several_components_go_side_by_side(story):
    story.work()
    story.send(Scale(component="cache", to={"megabytes": 32}))
    story.send(Scale(component="db", to={"connections": 20}))
    assert [key.split("@")[0] for key in story.due()] == ["cache", "db"]


def test_a_scale_back_while_an_attempt_runs_is_applied_after_it(story):
    """What an attempt under way will have done is not known before it ends."""
    story.work()
    story.send(scale(5))
    attempt = story.start("app:apply")
    back = story.send(scale(1))
    assert story.outcome(back) is None, "the world will show 5 in a moment"
    story.succeed(attempt)
    assert story.work() == ["app@1:apply"]
    assert story.env.current("app").inputs["replicas"] == 1
    assert story.outcome(back) == "succeeded"


@pytest.mark.parametrize("end", ["stop", "lose", "fail", "reject"])
def test_a_scale_back_after_an_attempt_without_success_is_applied(story, end):
    """It may have had its effect all the same: the old digest proves nothing."""
    story.work()
    story.send(scale(5))
    getattr(story, end)(story.start("app:apply"))
    story.send(scale(1))
    assert story.start("app:apply").inputs["replicas"] == 1


@pytest.mark.parametrize(
    ("signal", "error", "field", "says"),
    [
        (scale(99), OutOfBounds, "replicas", "the maximum is 5"),
        (Scale(component="db", to={"connections": 999}), OutOfBounds, "components.db.inputs.connections", "100"),
        (Scale(component="app"), Invalid, "to", "says no number"),
        (Scale(component="app", to={"replica": 2}), NotFound, "replica", "cannot be scaled"),
        (Scale(component="apps", to={"replicas": 2}), UnknownComponent, "component", "no component 'apps'"),
    ],
)
def test_a_scale_that_cannot_be_changes_nothing(story, signal, error, field, says):
    before, events = story.env, list(story.events)
    with pytest.raises(error, match=says) as caught:
        story.send(signal)
    assert caught.value.field == field
    assert caught.value.mend, "it says what to do instead"
    assert (story.env, story.events) == (before, events)


def test_the_bound_names_value_and_limit(story):
    with pytest.raises(OutOfBounds) as caught:
        story.send(scale(99))
    assert caught.value.details == {"keyword": "maximum", "bound": 5, "value": 99}


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"blueprint": "guest"}, NotFound, "blueprint"),
        ({"name": "Dev!"}, Invalid, "name"),
        ({"tier": "production"}, Invalid, "tier"),
        ({"inputs": {"replicas": 9}}, OutOfBounds, "inputs.replicas"),
        ({"inputs": {"replica": 1}}, Invalid, "inputs.replica"),
        ({"ttl": "soon"}, Invalid, "ttl"),
        ({"labels": {"": "x"}}, Invalid, "labels"),
    ],
)
def test_a_create_that_cannot_be_creates_nothing(fields, error, field):
    story = Story()
    with pytest.raises(error) as caught:
        story.create(**fields)
    assert caught.value.field == field
    assert story.state is None


def test_what_is_created_is_not_created_again(story):
    with pytest.raises(Conflict):
        story.send(Create(name="dev", blueprint="guestbook"))


def test_a_type_that_nobody_offers_is_refused():
    components = {"db": {"type": "test.databse"}}
    with pytest.raises(NotFound) as caught:
        Story(make_library(guestbook(components=components))).create()
    assert caught.value.field == "components.db.type"
    assert "test.database" in caught.value.mend


def test_an_update_that_says_nothing_is_refused(story):
    with pytest.raises(Invalid, match="changes nothing"):
        story.send(Update())


def test_doubt_stays_until_something_succeeds(story):
    """The attempt back to 1 was lost as well: the world may still show 5, whatever the digests say."""
    story.work()
    story.send(scale(5))
    story.stop(story.start("app:apply"))
    story.send(scale(1))
    story.lose(story.start("app:apply"))
    assert story.work() == ["app@1:apply"]
    assert story.work() == []


def test_a_late_result_that_says_what_is_known_makes_no_doubt(story):
    zombie = story.start("db:apply")
    story.lose(zombie, proven_dead=False)
    story.work()
    story.succeed(zombie)
    assert plan(story.env).steps == ()
    assert story.outcome(story.send(Scale(component="db", to={"connections": 10}))) == "succeeded"

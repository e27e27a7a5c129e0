"""Rotation on the bare domain: a new credential beside the old, every consumer changes over, then the old one ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twin.domain.errors import NotFound, Rejected
from twin.domain.foreseen import foreseen
from twin.domain.planner import plan
from twin.domain.rotation import live
from twin.domain.signals.acknowledge_credential import AcknowledgeCredential
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.rotate_credentials import RotateCredentials
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import FailedTerminal
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Story, begins


@pytest.fixture
def story() -> Story:
    """With a second version of its blueprint, in which jobs has other inputs."""
    other = guestbook_components()
    other["jobs"]["inputs"] = {"subjects": ["work.>"]}
    told = Story(make_library(guestbook(), guestbook("2.0.0", components=other)))
    told.create("guestbook@1.0.0")
    told.work()
    return told


def versions(story: Story, component: str = "db") -> list[int]:
    instance = story.env.current(component)
    assert instance is not None
    return [each.version for each in live(instance)]


def test_the_order_of_a_rotation(story):
    rotate = story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:issue", "app@1:apply", "db@1:retire"], "consumers change over while both are valid"
    assert versions(story) == [2]
    assert story.outcome(rotate) == "succeeded"
    assert plan(story.env).steps == ()


def test_those_outside_have_the_time_of_grace(story):
    rotate = story.send(RotateCredentials(component="db", grace="10m"))
    assert story.work() == ["db@1:issue", "app@1:apply"]
    assert status(story.env) == "ready", "for those who use it nothing is in the making"
    story.later(minutes=9)
    assert story.work() == []
    assert story.outcome(rotate) is None
    story.later(minutes=2)
    assert story.work() == ["db@1:retire"]
    assert story.outcome(rotate) == "succeeded"


def test_an_acknowledgement_ends_the_grace(story):
    story.send(RotateCredentials(component="db", grace="10h"))
    story.work()
    story.send(AcknowledgeCredential(component="db", version=2))
    assert story.work() == ["db@1:retire"]


def test_only_what_lives_can_be_acknowledged(story):
    with pytest.raises(NotFound, match="no credential 2; it has: 1"):
        story.send(AcknowledgeCredential(component="db", version=2))


def test_where_the_policy_asks_for_it_no_time_ends_the_old_one():
    components = guestbook_components()
    components["db"]["rotation"] = {"acknowledge": True}
    story = Story(make_library(guestbook(components=components)))
    story.create()
    story.work()
    story.send(RotateCredentials(component="db"))
    story.work()
    story.later(days=300)
    assert story.work() == []
    (retire,) = plan(story.env).steps
    assert "credential 2 is in use" in retire.waits_for, "and people can read what it waits for"
    story.send(AcknowledgeCredential(component="db", version=2))
    assert story.work() == ["db@1:retire"]


def test_rotations_before_the_issue_are_one(story):
    first = story.send(RotateCredentials(component="db", grace="0s"))
    second = story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:issue", "app@1:apply", "db@1:retire"]
    assert (story.outcome(first), story.outcome(second)) == ("succeeded", "succeeded")
    assert versions(story) == [2]


def test_a_rotation_while_the_credential_is_being_issued_is_the_next_one(story):
    story.send(RotateCredentials(component="db", grace="0s"))
    issue = story.start("db:issue")
    second = story.send(RotateCredentials(component="db", grace="0s"))
    story.succeed(issue)
    assert story.work() == ["app@1:apply", "db@1:retire", "db@1:issue", "app@1:apply", "db@1:retire"], "never three"
    assert versions(story) == [3]
    assert story.outcome(second) == "succeeded"


def test_a_later_rotation_without_grace_shortens_the_one_under_way(story):
    first = story.send(RotateCredentials(component="db", grace="10h"))
    story.work()
    second = story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:retire", "db@1:issue", "app@1:apply", "db@1:retire"]
    assert (story.outcome(first), story.outcome(second)) == ("succeeded", "succeeded")


def test_what_is_said_of_one_rotation_holds_for_no_later_one(story):
    story.send(RotateCredentials(component="db", grace="0s"))
    story.work()
    assert versions(story) == [2]
    story.send(RotateCredentials(component="db"))
    story.work()
    assert versions(story) == [2, 3], "the component's own grace"
    story.later(seconds=3600)
    assert story.work() == ["db@1:retire"]


def test_a_grace_that_was_asked_for_outlives_an_update(story):
    story.send(RotateCredentials(component="db", grace="10h"))
    story.work()
    story.send(Update(inputs={"greeting": "hi"}))
    story.later(hours=9)
    story.work()
    assert versions(story) == [1, 2]
    story.later(hours=1)
    assert story.work() == ["db@1:retire"]


def test_a_grace_that_was_asked_for_waits_for_nobody_to_acknowledge():
    patient = guestbook_components()
    patient["db"]["rotation"] = {"acknowledge": True}
    story = Story(make_library(guestbook(components=patient)))
    story.create()
    story.work()
    story.send(RotateCredentials(component="db", grace="0s"))
    story.work()
    assert versions(story) == [2], "a leaked one must go, whoever still uses it"
    story.send(RotateCredentials(component="db"))
    story.later(days=30)
    story.work()
    assert versions(story) == [2, 3]


def test_a_consumer_that_cannot_be_applied_blocks_the_retirement_by_its_name(story):
    rotate = story.send(RotateCredentials(component="db", grace="0s"))
    story.work(until="app:apply")
    story.reject(story.start("app:apply"), "its health check fails")
    assert story.work() == []
    blocked = next(failure for failure in story.env.failures.values() if failure.kind == "blocked")
    assert blocked.block == "rotation/shop/dev/db"
    assert "app still uses it" in blocked.message
    assert story.outcome(rotate) is None, "it waits for a human, and does not fail"
    assert versions(story) == [1, 2], "the app goes on with the old one"
    story.send(Retry(component="app"))
    assert story.work() == ["app@1:apply", "db@1:retire"], "and goes on by itself once the app is mended"
    assert not story.env.failures
    assert story.outcome(rotate) == "succeeded"


def test_what_a_consumer_waits_for_in_vain_blocks_the_retirement_as_well(story):
    story.send(Update(blueprint="guestbook@2.0.0"))
    story.reject(story.start("jobs:apply"), "no such subjects")
    rotate = story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:issue"]
    blocked = next(failure for failure in story.env.failures.values() if failure.kind == "blocked")
    assert "app cannot be applied with the new one before jobs is mended" in blocked.message
    assert blocked.mend == "Mend jobs, then: twin retry shop/dev jobs"
    story.send(Retry(component="jobs"))
    assert story.work() == ["jobs@1:apply", "app@1:apply", "db@1:retire"]
    assert story.outcome(rotate) == "succeeded"


def test_a_removal_that_waits_in_vain_blocks_the_retirement_as_well(story):
    story.send(Update(inputs={"region": "south"}))
    story.send(RotateCredentials(component="db", grace="0s"))
    story.succeed(story.start("db:issue"))
    story.reject(story.start("app@2:apply"), "no room in the south")
    assert story.work() == []
    assert any(failure.block == "rotation/shop/dev/db" for failure in story.env.failures.values())
    story.send(Retry(component="app"))
    assert story.work() == ["app@2:apply", "app@1:remove", "db@1:retire"]


def test_an_attempt_that_still_runs_with_the_old_one_keeps_it(story):
    story.send(Update(inputs={"greeting": "hi"}))
    slow = story.start("app:apply")
    story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:issue"]
    story.succeed(slow)
    assert story.work() == ["app@1:apply", "db@1:retire"]


def test_what_a_lost_issue_may_have_made_valid_is_issued_before_another(story):
    first = story.send(RotateCredentials(component="db", grace="0s"))
    lost = story.start("db:issue")
    second = story.send(RotateCredentials(component="db", grace="0s"))
    story.lose(lost)
    (issue,) = [step for step in plan(story.env).steps if step.key.verb == "issue"]
    assert issue.key == lost.key, "or three would live, and nobody would know of the second"
    story.later(minutes=1)
    assert story.work() == ["db@1:issue", "app@1:apply", "db@1:retire"] * 2
    assert versions(story) == [3]
    assert (story.outcome(first), story.outcome(second)) == ("succeeded", "succeeded")


def test_a_lost_consumer_may_still_come_back_with_the_old_one_until_it_has_settled(story):
    story.send(Update(inputs={"greeting": "hi"}))
    story.lose(story.start("app:apply"), proven_dead=False)
    story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["app@1:apply", "db@1:issue", "app@1:apply"], "the old credential is not taken away yet"
    story.later(minutes=6)
    assert story.work() == ["db@1:retire"]


def test_what_was_never_seen_to_succeed_may_hold_the_old_one():
    story = Story()
    story.create()
    story.work(until="app:apply")
    story.reject(story.start("app:apply"), "its health check fails")
    story.send(RotateCredentials(component="db", grace="0s"))
    story.succeed(story.start("db:issue"))
    (step,) = story.due()
    assert begins(step, "app:apply"), "perhaps the app runs, and was given the first one"
    assert story.work() == ["app@1:apply", "db@1:retire"]


def test_what_no_attempt_has_reached_holds_nothing():
    story = Story()
    story.create()
    story.work(until="app:apply")
    story.end(story.start("app:apply"), FailedTerminal(message="no such place", reached=False))
    story.send(RotateCredentials(component="db", grace="0s"))
    story.succeed(story.start("db:issue"))
    assert any(begins(step, "db:retire") for step in story.due())


def test_a_lost_issue_is_done_again_under_the_same_version(story):
    story.send(RotateCredentials(component="db", grace="0s"))
    story.lose(story.start("db:issue"))
    story.later(minutes=1)
    assert story.work() == ["db@1:issue", "app@1:apply", "db@1:retire"]
    assert versions(story) == [2]


def test_what_is_suspended_is_rotated_after_resume(story):
    story.send(Suspend())
    story.work()
    rotate = story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == []
    story.send(Resume())
    story.work()
    assert story.outcome(rotate) == "succeeded"


def test_a_rotation_can_be_taken_back_until_it_is_begun(story):
    story.send(Update(inputs={"engine": "16"}))
    story.send(Suspend())
    rotate = story.send(RotateCredentials(component="db"))
    story.send(Cancel(operation=rotate))
    story.send(Resume())
    story.work()
    assert story.outcome(rotate) == "cancelled"
    assert versions(story) == [1]
    rotate = story.send(RotateCredentials(component="db"))
    story.start("db:issue")
    with pytest.raises(Rejected, match="about to be"):
        story.send(Cancel(operation=rotate))


def test_cancelling_something_else_never_lowers_a_version(story):
    scale = story.send(Update(inputs={"greeting": "hi", "replicas": 3}))
    story.send(RotateCredentials(component="db", grace="0s"))
    story.send(Cancel(operation=scale))
    story.work()
    assert versions(story) == [2]


def test_a_new_incarnation_begins_with_the_version_that_is_wanted(story):
    story.send(RotateCredentials(component="db", grace="0s"))
    story.work()
    story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    story.work()
    assert versions(story) == [2]


def test_destruction_does_not_wait_for_a_grace(story):
    rotate = story.send(RotateCredentials(component="db", grace="10h"))
    story.work()
    gone = story.send(Destroy())
    story.work()
    assert (story.outcome(rotate), story.outcome(gone)) == ("superseded", "succeeded")


def test_without_consumers_only_grace_counts(story):
    story.send(RemoveComponent(component="app"))
    story.work()
    story.send(RotateCredentials(component="db", grace="0s"))
    assert story.work() == ["db@1:issue", "db@1:retire"]


def test_what_cannot_rotate_says_so(story):
    with pytest.raises(Rejected, match="no credential that can be rotated"):
        story.send(RotateCredentials(component="cache"))


def test_rotate_every_rotates_by_itself():
    components = guestbook_components()
    components["db"] |= {"rotate_every": "30d", "rotation": {"grace": "1h"}}
    story = Story(make_library(guestbook(components=components)))
    story.create()
    story.work()
    story.later(days=29)
    assert story.work() == []
    story.later(days=1)
    assert story.work() == ["db@1:issue", "app@1:apply"]
    story.later(hours=1)
    assert story.work() == ["db@1:retire"]
    story.later(days=30)
    assert story.work() == ["db@1:issue", "app@1:apply"], "and thirty days after that again"


def test_what_follows_a_new_credential_is_foreseen(story):
    story.send(RotateCredentials(component="db"))
    (issue,) = plan(story.env).steps
    apply, retire = foreseen(story.env, story.now)
    assert (apply.key.component, apply.key.verb, apply.after) == ("app", "apply", (str(issue.key),))
    assert (retire.key.component, retire.key.verb, retire.after) == ("db", "retire", (str(apply.key),))
    assert retire.not_before == story.now + timedelta(hours=1), "the component's own grace"
    assert story.work() == [f"{each.key.instance}:{each.key.verb}" for each in (issue, apply)], "and so it comes"
    story.later(hours=1)
    assert story.work() == ["db@1:retire"]
    assert foreseen(story.env, story.now) == ()

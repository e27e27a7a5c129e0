"""Grants on the bare domain: what is not known to have happened is not trusted, and nobody who left comes back or stays
for as long as something else does not succeed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from twin.domain.members import digest_of, entitled
from twin.domain.planner import plan
from twin.domain.signals.add_members import AddMembers, NewMember
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_members import RemoveMembers
from twin.domain.signals.resume import Resume
from twin.domain.signals.rotate_credentials import RotateCredentials
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import StepKey
from twin.testing.blueprints import TYPES, make_library
from twin.testing.story import Story


@pytest.fixture
def story() -> Story:
    told = Story()
    told.create()
    told.work()
    return told


def test_a_grant_that_was_lost_and_is_wanted_no_more_is_taken_back(story):
    added = story.send(AddMembers(members=(NewMember(name="bo"),)))
    lost = story.start("db:grant")
    story.send(Cancel(operation=added))
    story.lose(lost)
    assert story.work() == [], "first all that it may still do must be over"
    story.later(minutes=1)
    assert story.work() == ["db@1:grant"], "it may have let somebody in who is no member"
    assert plan(story.env).steps == ()


def test_a_grant_that_failed_and_is_wanted_no_more_is_taken_back(story):
    story.send(AddMembers(members=(NewMember(name="ada"),)))
    story.work()
    story.send(AddMembers(members=(NewMember(name="bo"),)))
    story.fail(story.start("db:grant"))
    story.send(RemoveMembers(names=("bo",)))
    assert story.work() == ["db@1:grant"]
    assert story.env.instances["db@1"].access == digest_of(entitled(story.env))


def test_who_left_does_not_come_back_by_a_late_grant(story):
    story.send(AddMembers(members=(NewMember(name="bo"),)))
    late = story.start("db:grant")
    story.lose(late, proven_dead=False)
    story.send(RemoveMembers(names=("bo",)))
    (step,) = plan(story.env).steps
    assert step.key != late.key
    assert step.not_before is not None, "it is granted anew once nothing can follow any more"
    assert story.due() == []
    story.now = step.not_before
    assert story.work() == ["db@1:grant"]


def test_a_late_report_of_a_grant_has_it_done_again(story):
    story.send(AddMembers(members=(NewMember(name="bo"),)))
    late = story.start("db:grant")
    story.lose(late)
    story.send(RemoveMembers(names=("bo",)))
    story.later(minutes=1)
    story.work()
    story.end(late, story.success(late.key))
    assert story.work() == ["db@1:grant"], "it has ended after all, and nobody knows before or after the other"


def test_what_was_granted_is_not_granted_again(story):
    story.send(AddMembers(members=(NewMember(name="bo"),)))
    assert story.work() == ["db@1:grant"]
    story.send(AddMembers(members=(NewMember(name="bo"),)))
    assert story.work() == []


def add(story, *names, role="developer", until=None):
    """Members who are let in."""
    return story.send(AddMembers(members=tuple(NewMember(name=name, role=role, until=until) for name in names)))


def admitted(story, instance="db@1"):
    return story.env.instances[instance].admits


def stuck(story):
    """What changes of the database cannot be applied."""
    story.send(Scale(component="db", to={"connections": 11}))
    story.reject(story.start("db:apply"), "no room")


def test_who_is_removed_loses_access_though_what_changes_cannot_be_applied(story):
    add(story, "ada", "bo")
    story.work()
    stuck(story)
    removed = story.send(RemoveMembers(names=("ada",)))
    assert story.outcome(removed) is None
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {"bo": "developer"}
    assert story.outcome(removed) == "succeeded"
    assert status(story.env) == "failed", "what could not be applied still cannot"


def test_whose_time_is_over_loses_access_though_what_changes_cannot_be_applied(story):
    add(story, "ada", until="1h")
    story.work()
    stuck(story)
    story.later(hours=1)
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {}


def test_access_is_given_only_to_what_stands_as_desired(story):
    add(story, "ada")
    story.work()
    stuck(story)
    added = add(story, "bo")
    assert story.work() == []
    assert story.outcome(added) == "failed", "and it says so"


def test_taking_does_not_wait_for_giving_nor_fail_with_it(story):
    add(story, "ada")
    story.work()
    stuck(story)
    add(story, "bo")
    removed = story.send(RemoveMembers(names=("ada",)))
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {}
    assert story.outcome(removed) == "succeeded", "though bo's access cannot be given"


def test_a_lesser_role_does_not_wait_for_an_apply(story):
    add(story, "ada", role="admin")
    story.work()
    stuck(story)
    lessened = add(story, "ada", role="viewer")
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {"ada": "viewer"}
    assert story.outcome(lessened) == "succeeded"


def test_who_is_removed_loses_access_though_a_credential_cannot_be_issued(story):
    add(story, "ada")
    story.work()
    story.send(RotateCredentials(component="db"))
    story.block(story.start("db:issue"))
    removed = story.send(RemoveMembers(names=("ada",)))
    assert story.work() == ["db@1:grant"]
    assert story.outcome(removed) == "succeeded"


def test_an_apply_that_was_lost_holds_no_removal_up(story):
    add(story, "ada")
    story.work()
    story.send(Scale(component="db", to={"connections": 11}))
    story.lose(story.start("db:apply"), proven_dead=False)
    story.send(RemoveMembers(names=("ada",)))
    assert story.due()[-1].startswith("db@1:grant:")


def test_a_removal_that_is_blocked_is_not_done_and_is_tried_again(story):
    add(story, "ada")
    story.work()
    removed = story.send(RemoveMembers(names=("ada",)))
    story.block(story.start("db:grant"), "data/data-1/privilege")
    assert story.outcome(removed) is None
    assert admitted(story) == {"ada": "developer"}
    assert status(story.env) == "blocked"
    story.resolve("data/data-1/privilege")
    assert story.work() == ["db@1:grant"]
    assert story.outcome(removed) == "succeeded"


def test_who_came_back_before_their_access_was_taken_keeps_it(story):
    add(story, "ada")
    story.work()
    story.send(RemoveMembers(names=("ada",)))
    story.fail(story.start("db:grant"))
    add(story, "ada")
    story.later(minutes=5)
    assert story.work() == ["db@1:grant"], "it may have been taken"
    assert admitted(story) == {"ada": "developer"}


def test_a_replaced_component_that_cannot_go_yet_lets_nobody_in_who_left(story):
    add(story, "ada", "bo")
    story.work()
    story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    story.reject(story.start("db@2:apply"))
    removed = story.send(RemoveMembers(names=("ada",)))
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {"bo": "developer"}
    assert story.outcome(removed) == "succeeded"


def test_nobody_stays_in_what_is_to_be_destroyed_and_cannot_go(story):
    add(story, "ada")
    story.work()
    destroyed = story.send(Destroy())
    story.block(story.start("app:remove"))
    assert "db@1:grant" in story.work(), "the database waits for its app, the people do not"
    assert admitted(story) == {}
    story.resolve("data/data-1/quota")
    story.work()
    assert story.outcome(destroyed) == "succeeded"


def test_what_goes_for_good_does_not_wait_for_people(story):
    add(story, "ada")
    story.work()
    destroyed = story.send(Destroy())
    story.reject(story.start("db:grant"))
    story.work()
    assert story.outcome(destroyed) == "succeeded"


def test_a_member_can_be_removed_while_a_destruction_waits_for_its_time():
    story = Story()
    story.create(tier="staging")
    story.work()
    add(story, "ada")
    story.work()
    story.send(Destroy())
    story.send(RemoveMembers(names=("ada",)))
    assert story.work() == ["db@1:grant"]
    assert admitted(story) == {}


class TestSuspended:
    @pytest.fixture
    def story(self):
        sleeping = replace(TYPES["test.database"], suspends=True)
        told = Story(make_library(types={**TYPES, "test.database": sleeping}))
        told.create()
        told.work()
        add(told, "ada", "bo")
        told.work()
        told.send(Suspend())
        told.work()
        return told

    def test_a_removal_takes_away_at_once(self, story):
        removed = story.send(RemoveMembers(names=("ada",)))
        assert story.outcome(removed) is None
        assert status(story.env) == "updating"
        assert story.work() == ["db@1:grant"]
        assert admitted(story) == {"bo": "developer"}
        assert story.outcome(removed) == "succeeded"
        assert status(story.env) == "suspended"

    def test_a_resumption_lets_in_who_is_a_member_by_then(self, story):
        story.send(RemoveMembers(names=("ada",)))
        story.work()
        add(story, "cy")
        assert story.work() == [], "nobody is let into what is suspended"
        resumed = story.send(Resume())
        done = story.work(until="db:grant")
        assert "db@1:apply" in done
        assert story.outcome(resumed) is None, "nobody can enter yet"
        story.work()
        assert admitted(story) == {"bo": "developer", "cy": "developer"}
        assert story.outcome(resumed) == "succeeded"

    def test_members_are_let_in_again_though_nothing_changed(self, story):
        story.send(Resume())
        done = story.work()
        assert done.index("db@1:apply") < done.index("db@1:grant"), "an apply lets in nobody"

    def test_a_removal_is_done_though_the_resumption_fails(self, story):
        story.send(Resume())
        story.reject(story.start("db:apply"))
        removed = story.send(RemoveMembers(names=("ada",)))
        assert "db@1:grant" in story.work()
        assert admitted(story) == {"bo": "developer"}
        assert story.outcome(removed) == "succeeded"

    def test_members_are_let_in_again_after_a_suspension_that_was_cut_short(self, story):
        story.send(Resume())
        story.work()
        story.send(Suspend())
        story.succeed(story.start("app:suspend"))
        lost = story.start("db:suspend")
        story.send(Resume())
        story.lose(lost)
        story.later(minutes=10)
        done = story.work()
        assert done.index("db@1:apply") < done.index("db@1:grant"), "it may have shut them out"


def test_what_an_older_twin_granted_is_not_granted_again_and_is_taken_whole(story):
    add(story, "ada", "bo")
    story.work()
    db = story.env.instances["db@1"]
    story.state = replace(story.env, instances={**story.env.instances, "db@1": replace(db, admits=None)})
    assert plan(story.env).steps == ()
    desired = replace(story.env.desired, members={"bo": story.env.desired.members["bo"]})
    env = replace(story.env, desired=desired, instances={**story.env.instances, "db@1": replace(db, admits=None)})
    (step,) = plan(env).steps
    assert step.key == StepKey("db", 1, "grant", digest_of({"bo": "developer"}))
    assert step.after == ()

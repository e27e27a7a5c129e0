"""Grants on the bare domain: what is not known to have happened is not trusted, and nobody who left comes back."""

from __future__ import annotations

import pytest

from twin.domain.members import access_digest
from twin.domain.planner import plan
from twin.domain.signals.add_members import AddMembers, NewMember
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.remove_members import RemoveMembers
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
    assert story.env.instances["db@1"].access == access_digest(story.env)


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

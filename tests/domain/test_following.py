"""Who follows an environment is told of each change once, and of nothing else."""

from __future__ import annotations

import pytest

from twin.domain.environment import Follower
from twin.domain.following import TellFollower, news
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.scale import Scale
from twin.testing.story import Story

PULL = Follower(kind="pull_request", entity="pr_shop_42")


@pytest.fixture
def story() -> Story:
    told = Story()
    told.create(follower=PULL)
    return told


def tell(story: Story) -> None:
    assert story.due("timer") == ["follower"]
    said = news(story.env)
    assert said is not None
    story.give(TellFollower(news=said))


def test_each_change_is_news_until_it_is_told(story: Story) -> None:
    tell(story)
    assert story.due("timer") == [], "it knows, and nothing is due"
    story.work()
    tell(story)
    story.send(Scale(component="app", to={"replicas": 2}))
    tell(story)
    story.fail(story.start("app:apply"), "no room")
    tell(story)
    story.later(minutes=5)
    story.work()
    tell(story)
    story.send(Destroy())
    story.work()
    tell(story)
    assert story.env.certificate is not None
    assert story.due("timer") == []


def test_what_is_told_late_leaves_what_is_newer_to_be_told(story: Story) -> None:
    old = news(story.env)
    assert old is not None
    story.work()
    story.give(TellFollower(news=old))
    tell(story)
    assert story.due("timer") == []


def test_to_be_told_twice_changes_nothing(story: Story) -> None:
    said = news(story.env)
    assert said is not None
    story.give(TellFollower(news=said))
    assert story.give(TellFollower(news=said)) == ()


def test_an_environment_that_nobody_follows_tells_nobody() -> None:
    alone = Story()
    alone.create()
    alone.work()
    assert news(alone.env) is None
    assert alone.due("timer") == []
    assert alone.give(TellFollower(news="x")) == ()

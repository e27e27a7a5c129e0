"""What an update has replaced serves until all that use it know what came instead; then it ends."""

from __future__ import annotations

from typing import Any

import pytest

from twin.domain.planner import plan
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.rotate_credentials import RotateCredentials
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Story


def components(**changes: Any) -> dict[str, Any]:
    """The guestbook's, with a route before the app."""
    route = {"type": "test.service", "inputs": {"env": {"TO": "${app.outputs.url}"}}}
    return {**guestbook_components(), "web": route, **changes}


@pytest.fixture
def story() -> Story:
    bare = {name: each for name, each in components().items() if name != "jobs"}
    bare["app"] = {key: value for key, value in bare["app"].items() if key != "needs"}
    told = Story(make_library(guestbook(components=components()), guestbook("2.0.0", components=bare)))
    told.create("guestbook@1.0.0")
    told.work()
    return told


def redeploy(story: Story, greeting: str = "bye") -> str:
    """Another version of the app stands at another address, and the one before serves on."""
    asked = story.send(Update(inputs={"greeting": greeting}))
    story.succeed(story.start("app:apply"), outputs={"url": f"http://{greeting}"}, lingers=True)
    return asked


def lingers(story: Story) -> bool:
    app = story.env.current("app")
    assert app is not None
    return app.lingers is not None


def test_the_old_leaves_after_the_route_has_heard_of_the_new(story):
    asked = redeploy(story)
    assert story.outcome(asked) == "succeeded", "what was asked for stands"
    assert status(story.env) == "updating"
    assert story.work() == ["web@1:apply", "app@1:drain"]
    assert not lingers(story)
    assert status(story.env) == "ready"
    assert plan(story.env).steps == ()


def test_a_route_that_cannot_be_applied_keeps_the_old_and_is_no_failure_of_others(story):
    redeploy(story)
    story.reject(story.start("web:apply"))
    assert story.work() == []
    assert lingers(story)
    scaled = story.send(Scale(component="app", to={"replicas": 3}))
    story.succeed(story.start("app:apply"), outputs={"url": "http://more"}, lingers=True)
    assert story.outcome(scaled) == "succeeded"
    story.succeed(story.start("web:apply"))
    assert story.work() == ["app@1:drain"]


def test_without_anything_left_there_is_no_step(story):
    story.send(Update(inputs={"greeting": "bye"}))
    assert "app@1:drain" not in story.work()


def test_a_drain_is_not_due_while_the_route_is_being_applied_and_waits_for_what_was_lost(story):
    redeploy(story)
    attempt = story.start("web:apply")
    assert not [key for key in story.due() if ":drain:" in key]
    story.lose(attempt, proven_dead=False)
    story.succeed(story.start("web:apply"))
    assert story.work() == [], "a lost attempt may still lead somebody to the old one"
    story.later(minutes=10)
    assert story.work() == ["app@1:drain"]


def test_several_updates_in_a_row_end_with_one_drain(story):
    redeploy(story)
    redeploy(story, "again")
    assert story.work() == ["web@1:apply", "app@1:drain"]


def test_a_credential_stays_until_what_holds_it_is_drained(story):
    story.send(RotateCredentials(component="db", grace="0s"))
    story.succeed(story.start("db:issue"))
    story.succeed(story.start("app:apply"), outputs={"url": "http://bye"}, lingers=True)
    assert story.work() == ["web@1:apply", "app@1:drain", "db@1:retire"]


def test_what_the_old_uses_goes_after_it(story):
    story.send(Update(blueprint="guestbook@2.0.0", allow_data_loss=True))
    story.succeed(story.start("app:apply"), outputs={"url": "http://bye"}, lingers=True)
    assert story.work() == ["web@1:apply", "app@1:drain", "jobs@1:remove"]


def test_a_route_that_goes_names_nobody_any_more(story):
    redeploy(story)
    story.send(RemoveComponent(component="web"))
    assert story.work() == ["web@1:remove", "app@1:drain"]


def test_suspending_ends_the_old_with_the_new(story):
    redeploy(story)
    story.send(Suspend())
    story.work()
    assert not lingers(story)
    assert status(story.env) == "suspended"


def test_destruction_needs_no_drain(story):
    redeploy(story)
    gone = story.send(Destroy())
    done = story.work()
    assert "app@1:drain" not in done
    assert story.outcome(gone) == "succeeded"

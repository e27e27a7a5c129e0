"""cancel: an operation is taken back, and what others asked for since stays."""

import pytest

from twin.domain.errors import NotFound, Rejected
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.resume import Resume
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import BOB, Story


@pytest.fixture
def story():
    second = guestbook_components()
    second["app"] = {"type": "test.cache", "needs": ["db"], "inputs": {"megabytes": 32}}
    third = guestbook_components()
    third["db"]["needs"] = ["jobs"]
    library = make_library(
        guestbook("2.0.0", components=second), guestbook("3.0.0", components=third), guestbook("1.0.0")
    )
    story = Story(library)
    story.create("guestbook@1.0.0")
    story.work()
    return story


def scale(to):
    return Scale(component="app", to={"replicas": to})


def test_a_scale_is_taken_back(story):
    operation = story.send(scale(3))
    cancel = story.send(Cancel(operation=operation), by=BOB)
    assert (story.outcome(operation), story.outcome(cancel)) == ("cancelled", "succeeded")
    assert (story.ended[operation].by_operation, story.ended[operation].by) == (cancel, BOB)
    assert story.work() == []


def test_running_attempts_are_told(story):
    operation = story.send(scale(3))
    attempt = story.start("app:apply")
    cancel = story.send(Cancel(operation=operation))
    assert story.env.running[str(attempt.key)].cancelled, "its worker learns it by the heartbeat"
    story.stop(attempt)
    assert story.outcome(cancel) is None
    assert story.start("app:apply").inputs["replicas"] == 1, "its effect is unknown, so the old value is applied"


def test_what_was_changed_since_stays(story):
    update = story.send(Update(inputs={"replicas": 2, "greeting": "hi"}))
    newer = story.send(scale(4))
    assert story.outcome(update) == "superseded", "it has given way, and cannot be cancelled any more"
    with pytest.raises(NotFound):
        story.send(Cancel(operation=update))
    story.send(Cancel(operation=newer))
    inputs = story.env.desired.components["app"].inputs
    assert (inputs["replicas"], inputs["env"]["GREETING"]) == (2, "hi"), "only what the cancelled one did"


def test_an_addition_and_a_removal_are_taken_back(story):
    before = story.env.desired
    story.send(Cancel(operation=story.send(AddComponent(component="search", type="test.cache"))))
    story.send(Cancel(operation=story.send(RemoveComponent(component="app"))))
    assert story.env.desired == before
    assert story.work() == []


def test_a_removal_under_way_is_taken_back_under_a_new_number(story):
    operation = story.send(RemoveComponent(component="app"))
    attempt = story.start("app:remove")
    story.send(Cancel(operation=operation))
    story.succeed(attempt)
    assert story.work() == ["app@2:apply"]


def test_a_replacement_is_taken_back(story):
    operation = story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    story.succeed(story.start("db@2:apply"))
    story.send(Cancel(operation=operation))
    assert story.work() == ["db@2:remove"], "the old database never went"


def test_a_replacement_whose_original_goes_is_not_taken_back_without_consent(story):
    operation = story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    story.succeed(story.start("db@2:apply"))
    story.succeed(story.start("app:apply"))
    story.start("db@1:remove")
    with pytest.raises(Rejected) as refused:
        story.send(Cancel(operation=operation))
    assert refused.value.code == "data_loss", "a third, empty database would take the place of the second"
    story.send(Cancel(operation=operation, allow_data_loss=True))
    assert story.env.desired.components["db"].incarnation == 3


def test_a_change_of_type_is_taken_back_with_all_that_belongs_to_it(story):
    before = story.env.desired
    operation = story.send(Update(blueprint="guestbook@2.0.0"))
    assert not story.env.desired.components["app"].traits.suspends
    story.send(Cancel(operation=operation))
    assert story.env.desired == before, "also its traits and needs"


def test_a_need_is_taken_back(story):
    operation = story.send(Update(blueprint="guestbook@3.0.0"))
    assert story.env.desired.components["db"].needs == ("jobs",)
    story.send(Cancel(operation=operation))
    assert story.env.desired.components["db"].needs == ()


def test_a_suspend_is_taken_back(story):
    operation = story.send(Suspend())
    story.send(Cancel(operation=operation))
    assert status(story.env) == "ready"
    story.send(Suspend())
    story.work()
    resume = story.send(Resume())
    story.send(Cancel(operation=resume))
    assert status(story.env) == "suspended"


def test_a_field_of_what_is_gone_is_not_put_back():
    first = {"db": {"type": "test.database"}, "cache": {"type": "test.cache", "observe_every": "1h"}}
    second = {"db": {"type": "test.database", "inputs": {"connections": 50}}, "cache": {"type": "test.cache"}}
    story = Story(make_library(guestbook("2.0.0", components=second), guestbook("1.0.0", components=first)))
    story.create("guestbook@1.0.0")
    story.work()
    update = story.send(Update(blueprint="guestbook@2.0.0"))
    story.send(RemoveComponent(component="cache"))
    story.send(Cancel(operation=update))
    assert set(story.env.desired.components) == {"db"}, "observe_every of the cache has no place to go back to"
    assert story.env.desired.components["db"].inputs["connections"] == 10


def test_a_cancelled_create_destroys():
    story = Story()
    creation = story.create()
    attempt = story.start("db:apply")
    other = story.send(scale(2))
    cancel = story.send(Cancel(operation=creation))
    assert story.env.running[str(attempt.key)].cancelled
    assert (story.outcome(creation), story.outcome(other)) == ("cancelled", "superseded")
    story.stop(attempt)
    assert story.work() == ["db@1:remove", "data-1@0:sweep"], "what may have come of it goes too"
    assert story.outcome(cancel) == "succeeded"


def test_the_creation_of_what_is_protected_is_not_cancelled():
    """While one component is blocked the others may long be in use."""
    story = Story()
    creation = story.create(tier="prod")
    with pytest.raises(Rejected) as caught:
        story.send(Cancel(operation=creation))
    assert caught.value.code == "protected"
    story.send(Unprotect())
    story.send(Cancel(operation=creation))
    assert status(story.env) == "destroyed"


def test_what_cannot_be_taken_back_is_refused(story):
    with pytest.raises(NotFound) as caught:
        story.send(Cancel(operation="op_unknown"))
    assert caught.value.field == "operation"
    removal = story.send(RemoveComponent(component="app"))
    story.send(RemoveComponent(component="db"))
    before = story.env
    with pytest.raises(Rejected, match="cannot be taken back any more"):
        story.send(Cancel(operation=removal))
    assert story.env == before, "app needs db, which is to go as well"


def test_the_destruction_that_has_begun_is_not_taken_back(story):
    operation = story.send(Destroy())
    with pytest.raises(Rejected):
        story.send(Cancel(operation=operation))

"""How long it lives: extend, protect, expire, destroy."""

from datetime import timedelta

import pytest

from twin.domain.errors import Invalid, Rejected
from twin.domain.identity import Actor
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.create import Create
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.extend import Extend
from twin.domain.signals.protect import Protect
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import FireTimer
from twin.testing.story import START, Story

CHANGES = [
    Scale(component="app", to={"replicas": 2}),
    Update(labels={"a": "b"}),
    AddComponent(component="search", type="test.cache"),
    RemoveComponent(component="app"),
    Suspend(),
    Resume(),
    Extend(ttl="1h"),
    Protect(),
    Unprotect(),
    DetectDrift(),
]


def ready(tier="dev", **more):
    story = Story()
    story.create(tier=tier, **more)
    story.work()
    return story


def test_the_tier_says_how_long_unless_told():
    assert ready("preview").env.desired.expires_at == START + timedelta(hours=24)
    assert ready("preview", ttl="2h").env.desired.expires_at == START + timedelta(hours=2)
    assert ready("dev").env.desired.expires_at is None


def test_it_expires():
    story = ready("preview")
    story.later(hours=23, minutes=59)
    assert story.work() == []
    story.later(minutes=1)
    story.work()
    assert status(story.env) == "destroyed"
    operation = story.happened(type(story.events[1]))[-1].operation
    assert (operation.signal, operation.by.kind) == ("expire", "timer"), "who did it is the timer"


def test_a_destruction_to_come_is_not_failed_by_what_failed_before():
    story = Story()
    story.create(tier="staging")
    story.work(until="app:apply")
    story.reject(story.start("app:apply"))
    gone = story.send(Destroy())
    assert story.outcome(gone) is None, "its time has not come"
    story.later(minutes=10)
    story.work()
    assert (status(story.env), story.outcome(gone)) == ("destroyed", "succeeded")


def test_extend_counts_from_now():
    story = ready("preview")
    story.later(hours=20)
    assert story.outcome(story.send(Extend(ttl="24h"))) == "succeeded"
    story.later(hours=23)
    assert story.work() == []
    story.later(hours=1)
    assert story.work() != []


def test_extend_can_make_it_earlier_or_endless():
    story = ready("preview")
    story.send(Extend(ttl="1h"))
    assert story.env.desired.expires_at == START + timedelta(hours=1)
    story.send(Extend(ttl="never"))
    assert story.rows == {}, "without an end there is no timer"
    story.later(days=365)
    assert story.work() == []
    with pytest.raises(Invalid):
        story.send(Extend(ttl="soon"))


def test_a_timer_that_was_moved_does_nothing():
    story = ready("preview")
    assert story.give(FireTimer("expiry"), by=Actor("timer", "expiry")) == ()
    assert story.give(FireTimer("unknown")) == ()


def test_the_protected_are_not_destroyed_until_unprotected():
    story = ready("prod")
    with pytest.raises(Rejected) as caught:
        story.send(Destroy())
    assert (caught.value.code, "unprotect" in caught.value.mend) == ("protected", True)
    story.send(Unprotect())
    story.send(Destroy())
    story.later(minutes=10)
    story.work()
    assert status(story.env) == "destroyed"


def test_expiry_waits_while_protected():
    story = ready("preview")
    story.send(Protect())
    story.later(hours=48)
    assert story.work() == []
    assert story.rows == {}
    story.send(Unprotect())
    story.work()
    assert status(story.env) == "destroyed", "its time was over"


def test_destroy_goes_backwards_and_proves_it():
    story = ready()
    operation = story.send(Destroy())
    assert status(story.env) == "destroying"
    assert [key.split(":")[0] for key in story.due()] == ["app@1"], "first what uses, then what is used"
    done = story.work()
    assert done[0] == "app@1:remove"
    assert sorted(done[1:4]) == ["cache@1:remove", "db@1:remove", "jobs@1:remove"]
    assert sorted(done[4:]) == ["data-1@0:sweep", "run-1@0:sweep"], "an inventory of every place ever used"
    assert story.outcome(operation) == "succeeded"


def test_a_delay_leaves_time_to_call_it_off():
    story = ready("staging")
    operation = story.send(Destroy())
    assert status(story.env) == "ready", "nothing happens yet"
    assert story.work() == []
    cancel = story.send(Cancel(operation=operation))
    assert (story.outcome(operation), story.outcome(cancel)) == ("cancelled", "succeeded")
    story.later(hours=1)
    assert story.work() == []
    assert story.rows == {}


def test_after_the_delay_it_begins():
    story = ready("staging")
    scale = story.send(Scale(component="app", to={"replicas": 2}))
    operation = story.send(Destroy())
    story.later(minutes=10)
    story.fire()
    assert story.outcome(scale) == "superseded"
    assert story.ended[scale].by_operation == operation
    with pytest.raises(Rejected, match="cannot be taken back"):
        story.send(Cancel(operation=operation))
    story.work()
    assert story.outcome(operation) == "succeeded"


def test_destroy_twice_is_one_destruction():
    story = ready("staging")
    first = story.send(Destroy())
    story.later(minutes=5)
    second = story.send(Destroy())
    story.later(minutes=5)
    story.work()
    assert (story.outcome(first), story.outcome(second)) == ("succeeded", "succeeded"), "the delay did not start anew"


def test_cancelling_one_of_two_destroys_calls_it_off_for_both():
    story = ready("staging")
    first, second = story.send(Destroy()), story.send(Destroy())
    cancel = story.send(Cancel(operation=first))
    assert (story.outcome(first), story.outcome(second)) == ("cancelled", "superseded")
    assert story.ended[second].by_operation == cancel


@pytest.mark.parametrize("signal", CHANGES, ids=lambda signal: type(signal).__name__)
def test_who_is_leaving_takes_no_more_wishes(signal):
    story = ready("staging")
    story.send(Destroy())
    for mend in ("Cancel the destroy operation first.", None):
        before = story.env
        with pytest.raises(Rejected) as caught:
            story.send(signal)
        assert (caught.value.code, caught.value.mend) == ("destroying", mend)
        assert story.env == before
        story.later(minutes=10)
        story.fire()


@pytest.mark.parametrize(
    "signal",
    [*CHANGES, Destroy(), Retry(), Cancel(operation="op_0001"), Abandon(component="db", reason="burnt")],
    ids=lambda signal: type(signal).__name__,
)
def test_the_destroyed_take_no_signal_at_all(signal):
    story = ready()
    story.send(Destroy())
    story.work()
    before = story.env
    with pytest.raises(Rejected) as caught:
        story.send(signal)
    assert caught.value.code == "destroyed"
    assert story.env == before


def test_destroyed_while_creating():
    story = Story()
    creation = story.create()
    attempt = story.start("db:apply")
    operation = story.send(Destroy())
    assert story.outcome(creation) == "superseded"
    assert story.due() == [], "the running attempt ends first; what never began is nowhere"
    story.succeed(attempt)
    assert story.work() == ["db@1:remove", "data-1@0:sweep"]
    assert story.outcome(operation) == "succeeded"


def test_destroyed_before_anything_began():
    story = Story()
    story.create()
    operation = story.send(Destroy())
    assert story.outcome(operation) == "succeeded"
    assert story.env.certificate.resources == ()


def test_the_name_is_free_again_for_another():
    story = ready()
    story.send(Destroy())
    story.work()
    assert story.env.released
    another = Story()
    another.send(Create(name="dev", project="shop", id="env_other", blueprint="guestbook"))
    assert another.env.id != story.env.id

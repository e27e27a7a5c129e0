"""No orphans: late results are fenced, destruction waits for what may still act, the certificate tells the truth."""

from datetime import timedelta

import pytest

from twin.domain.errors import Invalid, UnknownComponent
from twin.domain.events import Destroyed, LateEffect, ResultRefused
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.retry import Retry
from twin.domain.signals.scale import Scale
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import FailedTransient, Found
from twin.testing.story import Attempt, Story


@pytest.fixture
def story():
    story = Story()
    story.create()
    return story


@pytest.fixture
def standing(story):
    story.work()
    return story


def burn(component):
    return Abandon(component=component, reason="the data centre burnt down")


class TestFencing:
    def test_a_late_result_is_refused_and_recorded(self, story):
        first = story.start("db:apply")
        story.lose(first)
        second = story.start("db:apply", worker="w2")
        story.succeed(first, external_id="from the dead")
        (refused,) = story.happened(ResultRefused)
        assert (refused.epoch, refused.result) == (first.epoch, "succeeded")
        assert str(second.key) in story.env.running, "the successor's attempt goes on"
        story.succeed(second)
        assert story.env.instances["db@1"].external_id == "id-db@1"

    def test_a_result_of_nothing_that_runs_is_refused(self, standing):
        standing.send(Scale(component="app", to={"replicas": 2}))
        attempt = standing.start("app:apply")
        standing.succeed(attempt)
        standing.end(attempt, FailedTransient(message="again?"))
        assert standing.happened(ResultRefused)[0].message == "again?"
        assert standing.env.failures == {}

    def test_a_loss_under_another_epoch_is_nothing(self, story):
        attempt = story.start("db:apply")
        story.lose(Attempt(attempt.key, attempt.epoch + 1, 1, {}))
        assert str(attempt.key) in story.env.running

    def test_a_late_effect_on_what_stands_is_applied_over(self, standing):
        """The zombie wrote 5 after its successor's 2: the digest on record proves nothing any more."""
        standing.send(Scale(component="app", to={"replicas": 5}))
        zombie = standing.start("app:apply")
        standing.lose(zombie, proven_dead=False)
        standing.send(Scale(component="app", to={"replicas": 2}))
        standing.work()
        standing.succeed(zombie)
        assert standing.start("app:apply").inputs["replicas"] == 2

    def test_a_late_effect_on_what_was_removed_is_removed_again(self, standing):
        standing.send(Scale(component="app", to={"replicas": 5}))
        zombie = standing.start("app:apply")
        standing.lose(zombie, proven_dead=False)
        standing.send(RemoveComponent(component="app"))
        standing.work()
        standing.succeed(zombie)
        assert standing.work() == ["app@1:remove"]


class TestCertificate:
    def test_it_names_each_resource_and_each_inventory(self, standing):
        standing.send(RemoveComponent(component="app"))
        standing.work()
        standing.send(Destroy())
        standing.later(minutes=5)
        standing.work()
        certificate = standing.env.certificate
        assert certificate.at == standing.now
        assert [(each.instance, each.external_id, each.target) for each in certificate.resources] == [
            ("app@1", "id-app@1", "run-1"),
            ("cache@1", "id-cache@1", "data-1"),
            ("db@1", "id-db@1", "data-1"),
            ("jobs@1", "id-jobs@1", "data-1"),
        ], "also what was removed long before"
        assert sorted(each.placement.target for each in certificate.inventories) == ["data-1", "run-1"]
        assert certificate.unproven == ()

    def test_it_holds_no_inputs_and_outputs(self, standing):
        standing.send(Destroy())
        standing.work()
        assert all(not each.inputs and not each.outputs for each in standing.env.departed.values())

    def test_the_inventory_waits_for_what_may_still_act(self, story):
        zombie = story.start("db:apply")
        story.lose(zombie, proven_dead=False)
        story.send(Destroy())
        assert story.work() == ["db@1:remove"], "removal need not wait, proof must"
        deadline = story.now + timedelta(seconds=120 + 5)
        assert {row.due for row in story.rows.values()} == {deadline}, "the deadline and the provider's settle time"
        story.later(seconds=125)
        assert story.work() == ["data-1@0:sweep"]
        assert status(story.env) == "destroyed"

    def test_what_comes_back_during_the_inventory_is_asked_for_again(self, story):
        """The zombie reports after its time, while the place is being asked: that answer is older than the effect."""
        zombie = story.start("db:apply")
        story.lose(zombie, proven_dead=False)
        story.send(Destroy())
        story.work()
        story.later(seconds=125)
        sweep = story.start("data-1:sweep")
        story.succeed(zombie)
        story.succeed(sweep)
        assert story.env.certificate is None
        assert story.work() == ["db@1:remove", "data-1@0:sweep"]
        assert status(story.env) == "destroyed"

    def test_of_the_proven_dead_only_the_effect_may_come_late(self, story):
        story.lose(story.start("db:apply"), proven_dead=True)
        story.send(Destroy())
        story.work()
        story.later(seconds=5)
        assert story.work() == ["data-1@0:sweep"]

    def test_it_does_not_wait_once_the_zombie_has_reported(self, story):
        zombie = story.start("db:apply")
        story.lose(zombie, proven_dead=False)
        story.send(Destroy())
        story.stop(zombie)
        assert story.work() == ["db@1:remove", "data-1@0:sweep"]

    def test_an_inventory_that_fails_is_made_again(self, standing):
        standing.send(Destroy())
        standing.work(until="data-1:sweep")
        standing.fail(standing.start("data-1:sweep"))
        standing.later(seconds=1)
        standing.work()
        assert status(standing.env) == "destroyed"

    def test_leftovers_keep_it_destroying_and_are_named(self, standing):
        operation = standing.send(Destroy())
        standing.work(until="data-1:sweep")
        left = (Found("role", "tw_old_db_1", removal="drop tw_old_db_1"), Found("thing", "t"))
        standing.succeed(standing.start("data-1:sweep"), found=left)
        standing.work()
        assert status(standing.env) == "destroying"
        assert standing.env.leftovers == {"data-1": left}
        (failure,) = standing.env.failures.values()
        assert "role tw_old_db_1" in failure.message
        assert failure.mend == (
            "Remove what is left: drop tw_old_db_1; remove thing t by hand; then: twin retry shop/dev"
        )
        assert standing.outcome(operation) is None
        standing.send(Retry())
        standing.work()
        assert standing.env.leftovers == {}
        assert standing.outcome(operation) == "succeeded"

    def test_of_many_leftovers_the_first_are_told_and_where_the_others_are(self, standing):
        standing.send(Destroy())
        standing.work(until="data-1:sweep")
        found = tuple(Found("role", f"r{n}", removal=f"drop r{n}") for n in range(9))
        standing.succeed(standing.start("data-1:sweep"), found=found)
        (failure,) = standing.env.failures.values()
        assert "drop r4; and 4 more, which twin certificate shop/dev names; then: twin retry" in failure.mend

    def test_a_late_effect_reopens_it(self, story):
        zombie = story.start("db:apply")
        story.lose(zombie, proven_dead=False)
        story.send(Destroy())
        story.later(minutes=10)
        story.work()
        assert status(story.env) == "destroyed"
        story.succeed(zombie)
        assert len(story.happened(LateEffect)) == 1
        assert status(story.env) == "destroying"
        assert story.env.released, "the name stays free"
        assert story.work() == ["db@1:remove", "data-1@0:sweep"]
        assert len(story.happened(Destroyed)) == 2

    def test_what_was_reopened_and_fails_can_be_retried(self, story):
        zombie = story.start("db:apply")
        story.lose(zombie, proven_dead=False)
        story.send(Destroy())
        story.later(minutes=10)
        story.work()
        story.succeed(zombie)
        story.reject(story.start("db:remove"))
        retry = story.send(Retry())
        story.work()
        assert story.outcome(retry) == "succeeded"
        assert status(story.env) == "destroyed"


class TestAbandon:
    def test_what_is_still_wanted_is_made_anew(self, standing):
        operation = standing.send(burn("db"))
        assert standing.outcome(operation) == "succeeded"
        assert standing.work() == ["db@2:apply", "app@1:apply"], "and its users use the new one"

    def test_the_certificate_says_unproven(self, standing):
        standing.send(Destroy())
        standing.block(standing.start("app:remove"))
        operation = standing.send(burn("app"))
        assert standing.outcome(operation) == "succeeded", "also amid destruction it does what it should"
        standing.work()
        (unproven,) = standing.env.certificate.unproven
        assert (unproven.instance, unproven.abandoned) == ("app@1", "the data centre burnt down")
        assert [each.placement.target for each in standing.env.certificate.inventories] == ["data-1"], (
            "nobody can ask a place that is gone"
        )

    def test_a_place_that_goes_before_its_inventory(self, standing):
        """All was removed there, and now it cannot be asked any more: without a way out it would never end."""
        standing.send(Destroy())
        standing.work(until="data-1:sweep")
        standing.block(standing.start("data-1:sweep"))
        standing.work()
        assert status(standing.env) == "destroying"
        standing.send(burn("db"))
        assert status(standing.env) == "destroyed"
        assert [each.instance for each in standing.env.certificate.unproven] == ["db@1"]

    def test_a_running_attempt_is_let_go(self, standing):
        standing.send(Scale(component="db", to={"connections": 20}))
        attempt = standing.start("db:apply")
        standing.send(burn("db"))
        assert "db@2:apply" in standing.work()
        standing.succeed(attempt)
        assert standing.happened(LateEffect), "so it stands after all"
        assert standing.work() == ["db@1:remove"]
        standing.send(Destroy())
        assert "data-1@0:sweep" in standing.work()

    def test_what_comes_back_from_abandoned_ground_never_serves_again(self, standing):
        standing.send(Scale(component="cache", to={"megabytes": 32}))
        attempt = standing.start("cache:apply")
        standing.send(burn("cache"))
        standing.work()
        standing.send(Update(inputs={"zone": "b"}))
        standing.work()
        standing.succeed(attempt)
        standing.send(Update(inputs={"zone": "a"}))
        assert standing.env.desired.components["cache"].incarnation == 4, "not the first, which was given up"

    def test_it_needs_something_that_stands_and_a_reason(self, standing):
        with pytest.raises(UnknownComponent):
            standing.send(burn("dbs"))
        with pytest.raises(Invalid):
            standing.send(Abandon(component="db", reason=" "))

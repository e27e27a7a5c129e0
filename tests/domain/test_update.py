"""update: a three-way merge of what was rendered, what is rendered now, and what other signals made of it."""

import pytest

from twin.domain.errors import Invalid, NotFound, Rejected
from twin.domain.events import StepStarted
from twin.domain.planner import plan
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.scale import Scale
from twin.domain.signals.update import Update
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Story, keys_of


@pytest.fixture
def story():
    second = guestbook_components()
    del second["jobs"]
    second["app"] |= {"needs": []}
    second["search"] = {"type": "test.service", "inputs": {"env": {"DB": "${db.secrets.url}"}}}
    second["db"]["inputs"]["connections"] = 50
    plain = guestbook_components()
    plain["app"] |= {"needs": ["jobs", "db"], "inputs": {"replicas": "${inputs.replicas}"}}
    bare = guestbook_components()
    del bare["db"]
    bare["app"]["inputs"]["env"] = {}
    library = make_library(
        guestbook("2.0.0", components=second),
        guestbook("3.0.0", components=plain),
        guestbook("4.0.0", components=bare),
        guestbook("1.0.0"),
    )
    story = Story(library)
    story.create("guestbook@1.0.0")
    story.work()
    return story


def inputs(story, component="app"):
    return story.env.desired.components[component].inputs


def test_a_scale_outlives_an_update_of_something_else(story):
    story.send(Scale(component="app", to={"replicas": 4}))
    story.send(Update(inputs={"greeting": "hi"}))
    assert inputs(story)["replicas"] == 4, "the update did not speak of replicas"
    assert inputs(story)["env"]["GREETING"] == "hi"
    assert story.work() == ["app@1:apply"], "both are one plan"


def test_an_update_of_the_same_input_wins_over_a_scale(story):
    scale = story.send(Scale(component="app", to={"replicas": 4}))
    update = story.send(Update(inputs={"replicas": 2}))
    assert inputs(story)["replicas"] == 2
    assert story.outcome(scale) == "superseded"
    story.work()
    assert story.outcome(update) == "succeeded"


def test_even_to_the_value_it_had_before_the_scale(story):
    story.send(Scale(component="app", to={"replicas": 4}))
    story.send(Update(inputs={"replicas": 1}))
    assert inputs(story)["replicas"] == 1, "it was said in this very update"


def test_null_goes_back_to_the_default(story):
    story.send(Update(inputs={"greeting": "hi"}))
    story.send(Update(inputs={"greeting": None}))
    assert inputs(story)["env"]["GREETING"] == "hello"
    assert story.work() == [], "back before anything began"


def test_labels_change_no_component(story):
    done = story.send(Update(labels={"team": "red"}))
    assert story.outcome(done) == "succeeded"
    assert plan(story.env).steps == ()


def test_a_new_version_adds_removes_and_changes_components(story):
    operation = story.send(Update(blueprint="guestbook@2.0.0"))
    assert keys_of(plan(story.env).steps) == ["app@1:apply", "db@1:apply", "jobs@1:remove", "search@1:apply"]
    done = story.work()
    assert done.index("app@1:apply") < done.index("jobs@1:remove"), "removal only after its user let go"
    assert done.index("db@1:apply") < done.index("search@1:apply")
    assert inputs(story, "db")["connections"] == 50
    assert story.outcome(operation) == "succeeded"
    assert str(story.env.desired.blueprint) == "guestbook@2.0.0"


def test_a_new_version_keeps_what_signals_made(story):
    story.send(Scale(component="db", to={"connections": 20}))
    story.send(AddComponent(component="extra", type="test.cache"))
    story.send(RemoveComponent(component="app"))
    story.send(Update(blueprint="guestbook@4.0.0", allow_data_loss=True))
    assert "extra" in story.env.desired.components, "added by a signal, dropped by none"
    assert "app" not in story.env.desired.components, "removed by a signal, brought back by none"


def test_what_loses_data_needs_consent(story):
    before = story.env
    for update in (Update(inputs={"engine": "17"}), Update(blueprint="guestbook@4.0.0")):
        with pytest.raises(Rejected) as caught:
            story.send(update)
        assert (caught.value.code, caught.value.field) == ("data_loss", "components.db")
        assert "allow_data_loss" in caught.value.mend
    assert story.env == before
    story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    assert "db@2:apply" in story.work()


def test_a_database_that_never_stood_has_no_data_to_lose():
    story = Story()
    story.create(inputs={"engine": "0"})
    story.reject(story.start("db:apply"), "there is no engine 0")
    story.send(Update(inputs={"engine": "17"}))
    assert "db@2:apply" in story.work()


def test_what_is_replaced_stands_until_its_users_use_the_new_one(story):
    operation = story.send(Update(inputs={"zone": "b"}))
    assert story.work() == ["cache@2:apply", "app@1:apply", "cache@1:remove"]
    assert story.env.current("app").uses == ("cache@2", "db@1", "jobs@1")
    assert story.outcome(operation) == "succeeded"


def test_who_merely_needs_what_is_replaced_is_applied_again_too(story):
    """Without a reference nothing in its inputs changes, but it must let go of the old one."""
    story.send(Update(blueprint="guestbook@3.0.0"))
    story.work()
    story.send(Update(inputs={"engine": "17"}, allow_data_loss=True))
    assert story.work() == ["db@2:apply", "app@1:apply", "db@1:remove"]


def test_an_operation_waits_for_the_old_one_to_go(story):
    operation = story.send(Update(inputs={"region": "south"}))
    assert story.work(until="app@1:remove") == ["app@2:apply"]
    assert story.outcome(operation) is None
    story.work()
    assert story.outcome(operation) == "succeeded"


def test_back_to_the_old_value_before_the_new_one_began(story):
    story.send(Update(inputs={"zone": "b"}))
    story.send(Update(inputs={"zone": "a"}))
    assert story.env.desired.components["cache"].incarnation == 1
    assert story.work() == [], "the old one simply stays"


def test_back_to_the_old_value_while_the_new_one_is_made(story):
    story.send(Update(inputs={"zone": "b"}))
    attempt = story.start("cache@2:apply")
    story.send(Update(inputs={"zone": "a"}))
    story.succeed(attempt)
    assert story.work() == ["cache@2:remove"]
    story.send(Update(inputs={"zone": "b"}))
    assert story.env.desired.components["cache"].incarnation == 3, "a number is never used again"


def test_once_the_removal_has_begun_there_is_no_way_back(story):
    story.send(Update(inputs={"zone": "b"}))
    story.work(until="cache@1:remove")
    story.start("cache@1:remove")
    story.send(Update(inputs={"zone": "a"}))
    assert story.env.desired.components["cache"].incarnation == 3
    created = [str(each.key) for each in story.happened(StepStarted) if each.key.verb == "apply"]
    assert len(created) == len(set(created))


def test_changed_outputs_reach_those_who_refer_to_them(story):
    story.send(Scale(component="cache", to={"megabytes": 64}))
    story.succeed(story.start("cache:apply"), outputs={"host": "elsewhere.test"})
    assert story.work() == ["app@1:apply"], "its CACHE_HOST means something else now"


def test_a_newer_credential_reaches_those_who_use_it(story):
    story.send(Scale(component="db", to={"connections": 20}))
    story.succeed(story.start("db:apply"), credential_version=2)
    assert story.work() == ["app@1:apply"]


def test_an_environment_keeps_its_blueprint():
    story = Story(make_library(guestbook(), guestbook(metadata={"name": "other", "version": "1.0.0"})))
    story.create()
    with pytest.raises(Invalid, match="cannot become"):
        story.send(Update(blueprint="other"))


@pytest.mark.parametrize(
    ("update", "error", "field"),
    [
        (Update(blueprint="guestbook@9.0.0"), NotFound, "blueprint"),
        (Update(inputs={"replicas": 6}), Invalid, "inputs.replicas"),
        (Update(inputs={"colour": "red"}), Invalid, "inputs.colour"),
        (Update(labels={"a b": "c"}), Invalid, "labels"),
    ],
)
def test_a_bad_update_changes_nothing(story, update, error, field):
    before = story.env
    with pytest.raises(error) as caught:
        story.send(update)
    assert caught.value.field == field
    assert story.env == before

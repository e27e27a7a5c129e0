"""add_component and remove_component."""

import pytest

from twin.domain.errors import Invalid, NotFound, Rejected, UnknownComponent
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.scale import Scale
from twin.testing.story import Story


@pytest.fixture
def story():
    story = Story()
    story.create()
    story.work()
    return story


def test_a_component_is_added_with_its_references(story):
    added = AddComponent(
        component="search",
        type="test.service",
        inputs={"env": {"DB": "${db.secrets.url}", "WORD": "${inputs.greeting}", "WHERE": "${env.name}"}},
    )
    operation = story.send(added)
    wanted = story.env.desired.components["search"]
    assert wanted.inputs["env"] == {"DB": "${db.secrets.url}", "WORD": "hello", "WHERE": "dev"}
    assert wanted.needs == ("db",), "a reference makes the dependency"
    assert story.work() == ["search@1:apply"], "nothing else is touched"
    assert story.outcome(operation) == "succeeded"


@pytest.mark.parametrize(
    ("added", "error", "field"),
    [
        (AddComponent(component="db", type="test.cache"), Rejected, "component"),
        (AddComponent(component="Search", type="test.cache"), Invalid, "component"),
        (AddComponent(component="search", type="test.cash"), NotFound, "components.search.type"),
        (AddComponent(component="search", type="test.cache", inputs={"megabytes": 0}), Invalid, None),
        (AddComponent(component="search", type="test.cache", needs=("nobody",)), Invalid, "components.search"),
        (AddComponent(component="search", type="test.cache", target="run-1"), Invalid, "components.search.target"),
        (
            AddComponent(component="search", type="test.service", inputs={"env": {"A": "${db.secrets.uri}"}}),
            NotFound,
            "components.search.inputs",
        ),
        (
            AddComponent(component="search", type="test.service", inputs={"env": {"A": "${search.outputs.url}"}}),
            Invalid,
            "components.search",
        ),
    ],
)
def test_what_cannot_be_added_changes_nothing(story, added, error, field):
    before = story.env
    with pytest.raises(error) as caught:
        story.send(added)
    assert field is None or caught.value.field == field
    assert story.env == before


def test_what_is_needed_is_not_removed(story):
    with pytest.raises(Rejected, match="needed by app") as caught:
        story.send(RemoveComponent(component="db"))
    assert caught.value.mend
    with pytest.raises(UnknownComponent):
        story.send(RemoveComponent(component="data"))


def test_removal_goes_backwards_along_what_was_applied(story):
    """db is not needed any more once app is gone from desired; in the world it still is."""
    story.send(RemoveComponent(component="app"))
    operation = story.send(RemoveComponent(component="db"))
    assert story.work() == ["app@1:remove", "db@1:remove"]
    assert story.outcome(operation) == "succeeded"
    assert story.env.proofs["db@1"].external_id == "id-db@1", "what became of it is remembered for the certificate"


def test_removed_and_added_again_it_has_a_new_number(story):
    story.send(RemoveComponent(component="app"))
    story.work()
    story.send(AddComponent(component="app", type="test.service"))
    assert story.work() == ["app@2:apply"]


def test_removed_and_added_again_at_once_it_simply_stays(story):
    removal = story.send(RemoveComponent(component="app"))
    inputs = story.env.instances["app@1"].inputs
    story.send(AddComponent(component="app", type="test.service", inputs=inputs, needs=("jobs",)))
    assert story.outcome(removal) == "superseded"
    assert story.env.desired.components["app"].incarnation == 1, "its removal had not begun"
    assert "app@1:remove" not in story.work()


def test_a_removal_supersedes_what_was_asked_of_the_component(story):
    scale = story.send(Scale(component="app", to={"replicas": 2}))
    removal = story.send(RemoveComponent(component="app"))
    assert story.outcome(scale) == "superseded"
    assert story.ended[scale].by_operation == removal


def test_removed_while_it_is_applied(story):
    story.send(Scale(component="app", to={"replicas": 2}))
    attempt = story.start("app:apply")
    story.send(RemoveComponent(component="app"))
    assert story.due() == [], "a running step finishes"
    story.succeed(attempt)
    assert story.work() == ["app@1:remove"]


def test_removed_before_it_was_ever_begun():
    story = Story()
    story.create()
    removal = story.send(RemoveComponent(component="app"))
    assert story.outcome(removal) == "succeeded", "steps that were not started vanish"
    assert story.work() == ["cache@1:apply", "db@1:apply", "jobs@1:apply"]

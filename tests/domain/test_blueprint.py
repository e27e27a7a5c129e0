"""What a blueprint becomes for one environment: its inputs and its components."""

import pytest

from twin.domain.blueprint import TierSpec, effective_inputs, render
from twin.domain.blueprint_document import parse
from twin.domain.errors import Invalid, OutOfBounds

ENVIRONMENT = {"id": "env_1", "name": "dev", "project": "shop", "tier": "dev"}


def blueprint(**changes):
    document = {
        "apiVersion": "twin/v1",
        "kind": "Blueprint",
        "metadata": {"name": "guestbook", "version": "1.0.0"},
        "inputs": {
            "properties": {
                "replicas": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                "greeting": {"type": "string", "maxLength": 20},
                "limits": {"type": "object", "properties": {"cpu": {"type": "number", "default": 0.5}}},
            }
        },
        "components": {
            "db": {"type": "postgres.database"},
            "app": {
                "type": "process.service",
                "needs": ["cache"],
                "inputs": {"replicas": "${inputs.replicas}", "env": {"URL": "${db.secrets.url}", "ENV": "${env.name}"}},
            },
            "cache": {"type": "redis.keyspace", "target": "redis-here"},
        },
        "tiers": {
            "preview": {"inputs": {"replicas": 2}},
            "prod": {"targets": {"db": "pg-prod", "cache": "redis-prod"}},
        },
    }
    return parse(document | changes)


def test_given_wins_over_tier_wins_over_default():
    assert effective_inputs(blueprint(), "dev", {})["replicas"] == 1
    assert effective_inputs(blueprint(), "preview", {})["replicas"] == 2
    assert effective_inputs(blueprint(), "preview", {"replicas": 3})["replicas"] == 3


def test_defaults_are_explicit_also_in_nested_objects():
    assert effective_inputs(blueprint(), "dev", {"limits": {}})["limits"] == {"cpu": 0.5}


@pytest.mark.parametrize(
    ("given", "error", "field", "message", "mend"),
    [
        ({"replicas": 99}, OutOfBounds, "inputs.replicas", "inputs.replicas is 99; the maximum is 5", "at most 5"),
        ({"replicas": 0}, OutOfBounds, "inputs.replicas", "inputs.replicas is 0; the minimum is 1", "at least 1"),
        ({"replicas": True}, Invalid, "inputs.replicas", "it must be an integer", "an integer"),
        ({"replica": 1}, Invalid, "inputs.replica", "inputs.replica is not known", "'replicas'"),
        ({"greeting": "x" * 21}, OutOfBounds, "inputs.greeting", "the greatest length is 20", "at most 20"),
        ({"limits": {"cpu": "1"}}, Invalid, "inputs.limits.cpu", "it must be a number", "a number"),
    ],
)
def test_bad_inputs_say_what_is_wrong_where_and_how_to_mend_it(given, error, field, message, mend):
    with pytest.raises(error) as caught:
        effective_inputs(blueprint(), "dev", given)
    assert caught.value.field == field
    assert message in caught.value.message
    assert mend in (caught.value.mend or "")


def test_a_schema_may_allow_other_inputs():
    free = blueprint(inputs={"additionalProperties": {"type": "string"}}, components={"db": {"type": "a.b"}}, tiers={})
    assert effective_inputs(free, "dev", {"anything": "goes"}) == {"anything": "goes"}


def test_an_unknown_tier_names_the_near_miss():
    with pytest.raises(Invalid) as caught:
        effective_inputs(blueprint(), "pord", {})
    assert caught.value.mend == "Did you mean 'prod'?"


def test_a_tier_of_which_the_blueprint_does_not_speak_changes_nothing():
    assert blueprint().tier("staging") == TierSpec()


def test_inputs_are_data_and_never_references():
    values = effective_inputs(blueprint(), "dev", {"greeting": "${db.secrets.url}"})
    assert values["greeting"] == "${db.secrets.url}"


def test_render_puts_inputs_in_and_leaves_component_references():
    app = render(blueprint(), {"replicas": 3}, "dev", ENVIRONMENT)["app"]
    assert app.inputs == {"replicas": 3, "env": {"URL": "${db.secrets.url}", "ENV": "dev"}}
    assert app.needs == ("cache", "db"), "explicit needs and those that references make"


def test_the_tier_places_components():
    assert [each.target for each in render(blueprint(), {"replicas": 1}, "dev", ENVIRONMENT).values()] == [
        None,
        None,
        "redis-here",
    ]
    assert [each.target for each in render(blueprint(), {"replicas": 1}, "prod", ENVIRONMENT).values()] == [
        "pg-prod",
        None,
        "redis-prod",
    ]


def test_an_input_without_value_is_refused_where_it_is_used():
    with pytest.raises(Invalid) as caught:
        render(blueprint(), {}, "dev", ENVIRONMENT)
    assert caught.value.field == "inputs.replicas"
    assert "components.app.inputs" in caught.value.message

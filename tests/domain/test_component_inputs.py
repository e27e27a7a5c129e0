"""A component's inputs against its type: defaults, bounds, and where references may stand."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from twin.domain.component_inputs import validate_inputs
from twin.domain.component_type import SHOWN, ComponentType, inputs_schema
from twin.domain.errors import Invalid, OutOfBounds


class Limits(Struct, forbid_unknown_fields=True):
    cpu: Annotated[float, Meta(gt=0, le=8)] = 0.5
    memory: str = "256Mi"


class Probe(Struct, forbid_unknown_fields=True):
    path: str
    every: int = 10


class Inputs(Struct, forbid_unknown_fields=True):
    command: Annotated[list[str], Meta(min_length=1, extra_json_schema=SHOWN)]
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    host: Annotated[str, Meta(pattern=r"^[a-z.]+$", max_length=9)] = "localhost"
    mode: Literal["fast", "safe"] = "safe"
    prompt: str = "${HOME}> "
    env: dict[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    burst: Limits | None = None
    probes: list[Probe] = field(default_factory=list)


TYPE = ComponentType(name="process.service", provider="process", schema=inputs_schema(Inputs))


def test_defaults_are_explicit_also_in_nested_structs():
    given_ = {"command": ["run"], "limits": {"cpu": 2}, "burst": {}, "probes": [{"path": "/"}]}
    assert validate_inputs("app", TYPE, given_) == {
        "command": ["run"],
        "replicas": 1,
        "host": "localhost",
        "mode": "safe",
        "prompt": "$${HOME}> ",
        "env": {},
        "limits": {"cpu": 2, "memory": "256Mi"},
        "burst": {"cpu": 0.5, "memory": "256Mi"},
        "probes": [{"path": "/", "every": 10}],
    }, "a default is text, never a reference: it comes escaped"
    assert validate_inputs("app", TYPE, {"command": ["run"]})["limits"] == {"cpu": 0.5, "memory": "256Mi"}
    assert given_["burst"] == {}, "what was given is not changed"


def test_materialised_inputs_stay_as_they_are():
    once = validate_inputs("app", TYPE, {"command": ["run"], "burst": {}})
    assert validate_inputs("app", TYPE, once) == once


@pytest.mark.parametrize(
    ("change", "error", "field_", "telling", "reason"),
    [
        ({"replicas": 99}, OutOfBounds, "replicas", "is 99; the maximum is 5", "above"),
        ({"limits": {"cpu": 0}}, OutOfBounds, "limits.cpu", "is 0; it must be more than 0", "nested, exclusive"),
        ({"burst": {"cpu": 9}}, OutOfBounds, "burst.cpu", "is 9; the maximum is 8", "in an alternative of null"),
        ({"command": []}, OutOfBounds, "command", "smallest number of items is 1", "too few"),
        ({"command": None}, Invalid, "command", "is null; it must be an array", "wrong type"),
        ({"probes": [{}]}, Invalid, "probes[0].path", "is missing", "required in a list"),
        ({"host": "A B"}, OutOfBounds, "host", "^[a-z.]+$", "pattern"),
        ({"host": "$${ab}"}, OutOfBounds, "host", '"${ab}"', "an escape is judged as what it means"),
        ({"mode": "quick"}, OutOfBounds, "mode", '"fast", "safe"', "one of few"),
        ({"replica": 1}, Invalid, "replica", "'replicas'", "near miss"),
        ({"replicas": "${db.outputs.n}"}, Invalid, "replicas", "a reference gives text", "not where a number goes"),
        ({"limits": "${db.outputs.n}"}, Invalid, "limits", "an object", "not where an object goes"),
        ({"env": {"A": 1}}, Invalid, "env.A", "a string", "wrong type in a map"),
    ],
)
def test_refused(change, error, field_, telling, reason):
    with pytest.raises(error) as caught:
        validate_inputs("app", TYPE, {"command": ["run"]} | change)
    assert caught.value.field == f"components.app.inputs.{field_}", reason
    assert telling in f"{caught.value.message} {caught.value.mend}", reason
    assert caught.value.mend


def test_what_is_missing_is_named():
    with pytest.raises(Invalid, match=r"components\.app\.inputs\.command is missing"):
        validate_inputs("app", TYPE, {})


@pytest.mark.parametrize(
    "change",
    [{"host": "${db.outputs.host}"}, {"mode": "${db.outputs.mode}"}, {"env": {"A": "postgres://${db.outputs.host}/x"}}],
)
def test_references_stay_where_text_is_allowed(change):
    """Pattern, length and choice are judged only when the value is known."""
    complete = validate_inputs("app", TYPE, {"command": ["run"]} | change)
    assert complete | change == complete


@pytest.mark.parametrize("word", ["${db.secrets.url}", "--database=${db.secrets.url}"])
def test_what_everybody_can_see_refers_to_no_secret(word):
    with pytest.raises(Invalid) as caught:
        validate_inputs("app", TYPE, {"command": ["run", word]})
    assert caught.value.field == "components.app.inputs.command"
    assert "${db.secrets.url}" in caught.value.message
    assert "env" in (caught.value.mend or "")
    seen = {"command": ["run", "${db.outputs.host}"], "env": {"DATABASE_URL": word}}
    assert validate_inputs("app", TYPE, seen) | seen == validate_inputs("app", TYPE, seen)


def test_a_malformed_reference_names_the_component():
    with pytest.raises(Invalid) as caught:
        validate_inputs("app", TYPE, {"command": ["${db.secrets"]})
    assert caught.value.field == "components.app.inputs"


@given(st.integers())
def test_a_number_is_taken_exactly_within_its_bounds(replicas):
    if 1 <= replicas <= 5:
        assert validate_inputs("app", TYPE, {"command": ["run"], "replicas": replicas})["replicas"] == replicas
    else:
        with pytest.raises(OutOfBounds):
            validate_inputs("app", TYPE, {"command": ["run"], "replicas": replicas})

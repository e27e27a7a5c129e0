"""Blueprints as documents: what is refused, where, and how to mend it."""

import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.blueprint import TIERS, Blueprint, ComponentSpec, Policy, TierSpec
from twin.domain.blueprint_document import document, parse
from twin.domain.errors import Invalid
from twin.domain.references import escape


def good(**changes):
    return {
        "apiVersion": "twin/v1",
        "kind": "Blueprint",
        "metadata": {"name": "guestbook", "version": "1.0.0"},
        "inputs": {"properties": {"size": {"type": "integer", "maximum": 5}}},
        "components": {"db": {"type": "postgres.database"}, "app": {"type": "process.service"}},
    } | changes


def app(**body):
    return good(components={"db": {"type": "postgres.database"}, "app": {"type": "process.service"} | body})


def recursive():
    value = []
    value.append(value)
    return value


def laughs():
    value = ["ha"] * 10
    for _ in range(10):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("wrong", "field", "telling", "reason"),
    [
        (good(apiVersion="twin/v2"), "apiVersion", "twin/v1", "another version means other rules"),
        (good(kind="Blue"), "kind", "Blueprint", "not a blueprint"),
        (good(component={}), "component", "'components'", "a near miss is named"),
        (good(metadata={"name": "x"}), "metadata.version", "missing", "every blueprint has a version"),
        (good(metadata={"name": "x", "version": 1.0}), "metadata.version", "quotes", "YAML made a number of it"),
        (good(metadata={"name": "x", "version": "1.0"}), "metadata.version", "semantic", "semver has three parts"),
        (good(metadata={"name": "X y", "version": "1.0.0"}), "metadata.name", "match", "names are simple"),
        (good(metadata={"name": "x\n", "version": "1.0.0"}), "metadata.name", "match", "a line end is not a name"),
        (good(components={}), "components", "empty", "nothing to provision"),
        (good(components=[]), "components", "mapping", "components have names"),
        (good(components={"db": None}), "components.db", "missing", "a component has a type"),
        (good(components={"db": {}}), "components.db.type", "missing", "a component has a type"),
        (good(components={"db": {"type": "postgres"}}), "components.db.type", "PROVIDER.KIND", "no provider"),
        (good(components={"my_db": {"type": "a.b"}}), "components.my_db", "lower-case", "names derive from it"),
        (good(components={"x" * 27: {"type": "a.b"}}), f"components.{'x' * 27}", "26", "names must fit in 63"),
        (
            good(components={"inputs": {"type": "a.b"}}),
            "components.inputs",
            "meaning",
            "${inputs.x} would be two things",
        ),
        (app(inpust={}), "components.app.inpust", "'inputs'", "a near miss is named"),
        (app(needs=["bd"]), "components.app.needs[0]", "'db'", "a near miss is named"),
        (app(needs="db"), "components.app.needs", "list", "one text is not a list"),
        (app(needs=["app"]), "components.app", "app → app", "nothing needs itself"),
        (app(target="EU"), "components.app.target", "match", "not a target's name"),
        (app(policy={"attempts": 0}), "components.app.policy.attempts", "at least 1", "never trying is no policy"),
        (app(policy={"within": "soon"}), "components.app.policy.within", "24h", "not a duration"),
        (app(observe_every=0), "components.app.observe_every", "minimum", "looking without pause"),
        (app(inputs={"a": ["${bd.secrets.url}"]}), "components.app.inputs.a[0]", "'db'", "no such component"),
        (app(inputs={"a": "${db.secret.url}"}), "components.app.inputs.a", "'secrets'", "no such kind"),
        (app(inputs={"a": "${inputs.sice}"}), "components.app.inputs.a", "'size'", "no such input"),
        (app(inputs={"a": "${app.outputs.x}"}), "components.app", "circle", "it needs itself"),
        (app(inputs={"a": {8080: "x"}}), "components.app.inputs.a", "8080", "JSON's keys are text"),
        (app(inputs={"a": datetime.date(2026, 1, 1)}), "components.app.inputs.a", "quotes", "YAML made a date of it"),
        (app(inputs={"a": float("nan")}), "components.app.inputs.a", "float", "JSON has no NaN"),
        (app(inputs={"a": "\ud800"}), "components.app.inputs.a", "surrogate", "no JSON text can hold it"),
        (app(inputs={"\ud800": 1}), "components.app.inputs", "surrogate", "nor can a key"),
        (app(inputs={"a": recursive()}), None, "deep", "a document has an end"),
        (app(inputs={"a": laughs()}), None, "values", "aliases must not grow a document"),
        (
            good(inputs={"properties": {"a": {"type": "int"}}}),
            "inputs.properties.a.type",
            "JSON Schema",
            "no such type",
        ),
        (
            good(inputs={"properties": {"a": {"pattern": "("}}}),
            "inputs.properties.a.pattern",
            "JSON Schema",
            "no regex",
        ),
        (good(inputs={"type": "array"}), "inputs.type", "object", "inputs have names"),
        (good(inputs={"$ref": "http://x/y"}), "inputs.$ref", "$defs", "nothing is fetched"),
        (good(inputs={"properties": {"a": {"$ref": "#/$defs/b"}}}), "inputs.properties.a.$ref", "$defs", "dangling"),
        (
            good(inputs={"properties": {"a": {"type": "integer", "maximum": 1, "default": 2}}}),
            "inputs.properties.a.default",
            "maximum is 1",
            "a default out of its own bounds",
        ),
        (good(tiers={"production": {}}), "tiers.production", "'prod'", "tiers are few and fixed"),
        (good(tiers={"prod": {"ttl": "1 day"}}), "tiers.prod.ttl", "24h", "not a duration"),
        (good(tiers={"prod": {"protected": "yes"}}), "tiers.prod.protected", "true or false", "a text is always true"),
        (good(tiers={"prod": {"targets": {"bd": "x"}}}), "tiers.prod.targets.bd", "'db'", "no such component"),
        (good(tiers={"prod": {"targets": {"db": 1}}}), "tiers.prod.targets.db", "text", "not a target's name"),
        (good(tiers={"prod": {"inputs": {"sise": 1}}}), "tiers.prod.inputs.sise", "'size'", "no such input"),
        (good(tiers={"prod": {"inputs": {"size": 9}}}), "tiers.prod.inputs.size", "maximum is 5", "out of bounds"),
    ],
)
def test_refused(wrong, field, telling, reason):
    with pytest.raises(Invalid) as caught:
        parse(wrong)
    problem = caught.value
    if field is not None:
        assert problem.field == field, reason
    assert telling in f"{problem.message} {problem.mend}", reason
    assert problem.mend, "every refusal says how to mend it"


def test_a_circle_is_named():
    with pytest.raises(Invalid, match=r"circle") as caught:
        parse(
            good(
                components={
                    "a": {"type": "x.y", "needs": ["b"]},
                    "b": {"type": "x.y", "inputs": {"v": "${c.outputs.v}"}},
                    "c": {"type": "x.y", "inputs": {"v": "${a.outputs.v}"}},
                }
            )
        )
    circle = caught.value.message.rpartition(": ")[2].split(" → ")
    assert circle[0] == circle[-1]
    edges = {"a": "b", "b": "c", "c": "a"}
    assert [edges[each] for each in circle[:-1]] == circle[1:], "each needs the one after it"


def test_durations_are_seconds():
    blueprint = parse(good(tiers={"preview": {"ttl": "24h"}, "prod": {"protected": True, "destroy_delay": "10m"}}))
    assert blueprint.tiers["preview"].ttl == 86_400
    assert blueprint.tiers["prod"] == TierSpec(protected=True, destroy_delay=600.0)


names = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name not in ("env", "inputs")
)
seconds = st.floats(1, 1e6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8).map(escape),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3),
    max_leaves=5,
)


@st.composite
def blueprints(draw):
    components: dict[str, ComponentSpec] = {}
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        inputs = draw(st.dictionaries(st.text(max_size=4), json_values, max_size=3))
        needs = draw(st.lists(st.sampled_from(sorted(components)), unique=True)) if components else []
        if needs:
            inputs["reference"] = f"<${{{needs[0]}.secrets.url}}>"
        components[name] = ComponentSpec(
            type=draw(st.sampled_from(["postgres.database", "process.service"])),
            inputs=inputs,
            target=draw(st.none() | names),
            needs=tuple(needs),
            policy=Policy(attempts=draw(st.none() | st.integers(1, 9)), within=draw(st.none() | seconds)),
            observe_every=draw(st.none() | seconds),
        )
    tiers = {
        tier: TierSpec(
            ttl=draw(st.none() | seconds),
            protected=draw(st.booleans()),
            destroy_delay=draw(st.just(0.0) | seconds),
            inputs=draw(st.just({}) | st.just({"size": 2})),
            targets=draw(st.dictionaries(st.sampled_from(sorted(components)), names, max_size=2)),
        )
        for tier in draw(st.sets(st.sampled_from(TIERS)))
    }
    return Blueprint(
        name=draw(names),
        version=draw(st.sampled_from(["1.0.0", "0.1.2-rc.1+b5"])),
        description=draw(st.text(max_size=9)),
        inputs={"properties": {"size": {"type": "integer", "default": 1}}},
        components=components,
        tiers=tiers,
    )


@given(blueprints())
def test_a_document_says_all_of_a_blueprint(blueprint):
    assert parse(document(blueprint)) == blueprint
    assert parse(msgspec.json.decode(msgspec.json.encode(document(blueprint)))) == blueprint, "as stored"

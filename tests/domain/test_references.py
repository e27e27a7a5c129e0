"""References: found, resolved, escaped; whatever a value holds, it is never interpreted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.errors import Invalid
from twin.domain.references import Reference, escape, pieces, references, resolve, substitute_inputs

URL = Reference("db", "secrets", "url")
texts = st.text(st.sampled_from("a${}.b\\ "), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text("ab", max_size=2), each, max_size=3),
    max_leaves=8,
)
known = st.sampled_from([URL, Reference(None, "inputs", "x"), Reference(None, "env", "name")])


def nothing(reference):
    raise AssertionError(f"{reference} was looked up")


def test_references_are_found_at_any_depth():
    value = {"a": ["${db.secrets.url}", {"b": "x${inputs.size}y${db.outputs.host}"}], "${ignored.in.keys}": 1}
    assert references(value) == {URL, Reference(None, "inputs", "size"), Reference("db", "outputs", "host")}
    assert [str(each) for each in references("${db.secrets.url}")] == ["${db.secrets.url}"]


def test_a_text_that_is_one_reference_keeps_the_type():
    lookup = {URL: [1, {"a": None}]}.__getitem__
    assert resolve({"x": "${db.secrets.url}"}, lookup) == {"x": [1, {"a": None}]}


@pytest.mark.parametrize(("value", "text"), [("t", "<t>"), (1, "<1>"), (1.5, "<1.5>"), (True, "<true>")])
def test_within_a_longer_text_it_is_interpolated(value, text):
    assert resolve("<${db.secrets.url}>", lambda _: value) == text


@pytest.mark.parametrize("value", [None, [], {}])
def test_what_has_no_text_cannot_stand_within_one(value):
    with pytest.raises(Invalid, match="cannot stand within a longer text"):
        resolve("<${db.secrets.url}>", lambda _: value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("$${x}", "${x}"), ("$5 {x}", "$5 {x}"), ("$$", "$$"), ("a$$b", "a$$b"), ("$$$${x}", "$${x}")],
)
def test_escapes(written, meant):
    assert resolve(written, nothing) == meant


def test_a_dollar_can_stand_before_a_reference():
    assert resolve("$$${db.secrets.url}", lambda _: "5") == "$5"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${", "never closed"),
        ("${db.secrets.url", "never closed"),
        ("${}", "empty"),
        ("${db}", "a component alone has no value"),
        ("${db.secret.url}", "near miss of secrets"),
        ("${inputs.a.b}", "no paths"),
        ("${inputs.a + 1}", "no expressions"),
        ("${ inputs.a }", "no blanks"),
        ("${env.HOME}", "the twin's own process environment stays out"),
        ("${Db.secrets.url}", "not a component's name"),
    ],
)
def test_what_only_looks_like_a_reference_is_refused(text, reason):
    with pytest.raises(Invalid) as caught:
        references([text])
    assert text in caught.value.message, reason
    assert caught.value.mend


@given(values)
def test_escaped_values_come_back_as_they_were(value):
    assert references(escape(value)) == frozenset()
    assert resolve(escape(value), nothing) == value


@given(st.lists(st.one_of(texts, known), max_size=5), texts, texts, texts)
def test_two_steps_give_what_one_step_gives(parts, x, name, url):
    """Inputs are put in when a twin is made, secrets just before the call: what an input holds never shows through."""
    template = ""
    for index, part in enumerate(parts):
        if isinstance(part, Reference):
            template += str(part)
        else:
            dollars = len(part) - len(part.rstrip("$")) if isinstance((*parts, "")[index + 1], Reference) else 0
            template += escape(part) + "$" * dollars
    try:
        pieces(template)
    except Invalid:
        return
    lookup = {URL: url, Reference(None, "inputs", "x"): x, Reference(None, "env", "name"): name}.__getitem__
    rendered = substitute_inputs(template, {"x": x}, {"name": name})
    assert {each.component for each in references(rendered)} <= {"db"}
    assert resolve(rendered, lookup) == resolve(template, lookup)


def test_an_input_is_data():
    rendered = substitute_inputs(
        {"a": "${inputs.evil}", "b": "<${inputs.evil}>", "c": "${inputs.deep}"},
        {"evil": "${db.secrets.url}", "deep": {"k": ["${env.name}"]}},
        {},
    )
    assert references(rendered) == frozenset()
    assert resolve(rendered, nothing) == {
        "a": "${db.secrets.url}",
        "b": "<${db.secrets.url}>",
        "c": {"k": ["${env.name}"]},
    }


def test_a_dollar_in_an_input_does_not_join_what_follows():
    rendered = substitute_inputs("${inputs.x}{db.secrets.url}|${inputs.x}${db.secrets.url}", {"x": "$"}, {})
    assert references(rendered) == {URL}
    assert resolve(rendered, lambda _: "U") == "${db.secrets.url}|$U"


def test_an_input_without_value_is_named():
    with pytest.raises(Invalid) as caught:
        substitute_inputs("${inputs.size}", {}, {})
    assert caught.value.field == "inputs.size"

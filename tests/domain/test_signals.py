"""Signals as JSON: what is no signal, or has a field too many or wrong, is told which and what to do."""

import msgspec
import pytest

from twin.domain.errors import Invalid
from twin.domain.signals import BY_NAME, parse
from twin.domain.signals.scale import Scale


def test_every_signal_is_known_by_its_name():
    assert set(BY_NAME) == {
        "abandon",
        "acknowledge_credential",
        "add_component",
        "add_members",
        "cancel",
        "clone",
        "create",
        "destroy",
        "detect_drift",
        "extend",
        "protect",
        "remove_component",
        "remove_members",
        "resume",
        "retry",
        "rotate_credentials",
        "scale",
        "suspend",
        "unprotect",
        "update",
    }
    more = {name for name, struct in BY_NAME.items() if struct.role != "developer"}
    assert more == {"abandon", "add_members", "remove_members", "unprotect"}


@pytest.mark.parametrize("struct", BY_NAME.values(), ids=BY_NAME)
def test_every_signal_says_what_it_is_for(struct):
    assert struct.__doc__


def test_a_signal_reads_back():
    scale = Scale(component="app", to={"replicas": 3}, expect_plan="abc")
    assert parse(msgspec.json.decode(msgspec.json.encode(scale))) == scale


def test_numbers_may_stand_beside_the_component():
    assert parse({"signal": "scale", "component": "app", "replicas": 3}) == Scale(component="app", to={"replicas": 3})


@pytest.mark.parametrize(
    ("body", "field", "mend"),
    [
        ({}, "signal", None),
        ({"signal": "scael", "component": "app"}, "signal", "scale"),
        ({"signal": ["scale"]}, "signal", None),
        ({"signal": "extend"}, "ttl", "schema of extend"),
        ({"signal": "clone", "name": "a", "data": "half"}, "data", "Known: full, masked, none, schema."),
        ({"signal": "clone", "name": "a", "data": "schemas"}, "data", "Did you mean 'schema'?"),
        ({"signal": "clone", "name": "a", "data": 7}, "data", "schema of clone"),
        ({"signal": "add_members", "members": [{"name": "a", "role": "boss"}]}, "members[0].role", "Known: admin, dev"),
        ({"signal": "add_members", "members": [{"name": "a"}, {"role": "viewer"}]}, "members[1].name", "Give it."),
        ({"signal": "add_members", "members": ["ada"]}, "members[0]", "schema of add_members"),
        ({"signal": "extend", "tll": "1h"}, "tll", "ttl"),
        ({"signal": "update", "labels": {"a": 1}}, "labels", "schema of update"),
        ({"signal": "scale", "component": "app", "replicas": "3"}, "to", "schema of scale"),
        ({"signal": "scale", "component": "app", "to": 3, "replicas": 2}, "to", "schema of scale"),
    ],
)
def test_what_is_wrong_is_named(body, field, mend):
    with pytest.raises(Invalid) as caught:
        parse(body)
    assert caught.value.field.startswith(field)
    assert mend is None or mend in caught.value.mend


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"signal": "clone", "name": "a", "data": "half"}, "data is 'half'; it must be full, masked, none or schema"),
        ({"signal": "clone"}, "name is missing"),
        ({"signal": "add_members", "members": [{"role": "viewer"}]}, "members[0].name is missing"),
        (
            {"signal": "add_members", "members": [{"name": "a", "role": "boss"}]},
            "members[0].role is 'boss'; it must be admin, developer, operator or viewer",
        ),
    ],
)
def test_what_is_wrong_is_said_once_and_with_what_would_be_right(body, told):
    with pytest.raises(Invalid) as caught:
        parse(body)
    assert caught.value.message == told

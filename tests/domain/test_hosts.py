"""Hosts that nobody has chosen: stable, never two alike, and such as DNS takes."""

import re
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from twin.domain.component_type import HOST, ComponentType, inputs_schema
from twin.domain.hosts import LONGEST_LABEL, host_label
from twin.domain.identity import COMPONENT_PATTERN, NAME_PATTERN
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.clone import Clone, creation
from twin.domain.signals.update import Update
from twin.testing.blueprints import TYPES, guestbook, guestbook_components, make_library
from twin.testing.story import Story


class DoorInputs(Struct, frozen=True, forbid_unknown_fields=True):
    host: Annotated[str | UnsetType, Meta(extra_json_schema=HOST)] = UNSET
    word: str = ""


DOOR = ComponentType(name="test.door", provider="run", schema=inputs_schema(DoorInputs))


def story(**versions):
    """An environment shop/dev of the first of these versions, each the routes that it has besides the guestbook."""
    published = [
        guestbook(version.replace("v", "") + ".0.0", components={**guestbook_components(), **components})
        for version, components in versions.items()
    ]
    story = Story(make_library(*published, types={**TYPES, DOOR.name: DOOR}))
    story.create(f"guestbook@{published[0].version}")
    story.work()
    return story


def door(**inputs):
    return {"type": "test.door", "inputs": inputs}


def hosts(story):
    return {n: each.inputs["host"] for n, each in story.env.desired.components.items() if each.type == DOOR.name}


def test_the_first_has_the_environment_s_name_and_others_add_theirs():
    made = story(v1={"web": door(), "admin": door(), "own": door(host="elsewhere.example.org")})
    assert hosts(made) == {"web": "dev--shop", "admin": "dev--shop--admin", "own": "elsewhere.example.org"}


def test_one_that_says_the_same_by_itself_is_not_met_by_another():
    assert hosts(story(v1={"a": door(), "z": door(host="${env.name}--${env.project}")})) == {
        "a": "dev--shop--a",
        "z": "dev--shop",
    }


def test_a_host_once_given_stays_whatever_comes_before_it():
    made = story(v1={"web": door()}, v2={"api": door(), "web": door(word="changed")})
    made.send(Update(blueprint="guestbook@2.0.0"))
    assert hosts(made) == {"web": "dev--shop", "api": "dev--shop--api"}
    made.send(Update(inputs={"greeting": "hi"}))
    assert hosts(made) == {"web": "dev--shop", "api": "dev--shop--api"}


def test_an_update_may_choose_one_and_leave_it_again():
    made = story(v1={"web": door()}, v2={"web": door(host="chosen")})
    made.send(Update(blueprint="guestbook@2.0.0"))
    assert hosts(made) == {"web": "chosen"}
    made.send(Update(blueprint="guestbook@1.0.0"))
    assert hosts(made) == {"web": "dev--shop"}


def test_one_that_is_added_has_one_too_and_its_clone_another():
    made = story(v1={})
    made.send(AddComponent(component="web", type="test.door"))
    made.send(AddComponent(component="chosen", type="test.door", inputs={"host": "dev--shop-1"}))
    assert hosts(made) == {"web": "dev--shop", "chosen": "dev--shop-1"}
    made.work()
    copied = creation(made.env, Clone(name="pr-7"), 1, made.library)
    clone = Story(made.library)
    clone.send(copied)
    assert hosts(clone) == {"web": "pr-7--shop", "chosen": "dev--shop-1"}


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("pr-42", "guestbook"), "pr-42--guestbook"),
        (("pr-42", "guestbook", "admin"), "pr-42--guestbook--admin"),
        (("e" * 30, "p" * 31), "e" * 30 + "--" + "p" * 31),
    ],
)
def test_the_label_says_whose_it_is(names, label):
    assert host_label(*names) == label


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("e" * 31, "p" * 31), "it is too long"),
        (("a--b", "c"), "it could be a's in b--c"),
        (("xn", "shop"), "it would be an international name"),
    ],
)
def test_what_cannot_stand_ends_in_a_hash_that_stays(names, reason):
    label = host_label(*names)
    assert re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]--0[0-9a-f]{15}", label), reason
    assert label == host_label(*names)
    assert label != "--".join(names)


name = st.from_regex(NAME_PATTERN, fullmatch=True) | st.sampled_from(["a", "b", "a--b", "b--c", "xn", "a" * 40])
component = st.just("") | st.from_regex(COMPONENT_PATTERN, fullmatch=True) | st.sampled_from(["b", "c", "b--c"])


@given(st.tuples(name, name, component), st.tuples(name, name, component))
def test_no_two_places_have_one_label_and_dns_takes_each(one, other):
    for label in (host_label(*one), host_label(*other)):
        assert len(label) <= LONGEST_LABEL
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", label)
        assert label[2:4] != "--", "kept by DNS (RFC 5891, 4.2.3.1)"
    assert (host_label(*one) == host_label(*other)) == (one == other)

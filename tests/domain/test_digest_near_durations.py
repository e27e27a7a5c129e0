"""Digests, near misses and durations: the small tools of the domain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.digest import digest
from twin.domain.durations import duration_text, parse_duration
from twin.domain.errors import Invalid
from twin.domain.near import near_misses, suggestion


def test_equal_values_have_equal_digests_whatever_the_order_of_keys():
    assert digest({"a": 1, "b": [{"x": 1, "y": 2}]}) == digest({"b": [{"y": 2, "x": 1}], "a": 1})
    assert len(digest({})) == 32
    assert digest([1, 2]) != digest([2, 1])
    assert digest("1") != digest(1)


def test_near_misses_name_what_was_meant():
    assert near_misses("replica", ["replicas", "command", "env"]) == ("replicas",)
    assert near_misses("ENV", ["replicas", "env"]) == ("env",), "case does not matter"
    assert suggestion("zzz", ["b", "a"]) == "Known: a, b."


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86_400),
        ("10m", 600),
        ("90s", 90),
        ("7d", 604_800),
        ("1h30m", 5_400),
        (15, 15),
        (0.5, 0.5),
        ("1.5s", 1.5),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing"),
        ("10", "a text without a unit is ambiguous"),
        ("5 minutes", "one notation is enough"),
        ("30m1h", "units go from great to small"),
        ("-1s", "time does not go back"),
        (-1, "time does not go back"),
        (True, "YAML's yes is no number"),
        (float("nan"), "not a number"),
        (10**400, "longer than anything lives"),
        (None, "nothing"),
        ("٣h", "only ASCII digits"),
    ],
)
def test_what_is_not_a_duration_names_its_field(text, reason):
    with pytest.raises(Invalid) as caught:
        parse_duration(text, "tiers.preview.ttl")
    assert caught.value.field == "tiers.preview.ttl", reason
    assert "24h" in (caught.value.mend or "")


@given(st.integers(0, 3_000_000_000_000))
def test_durations_survive_being_written(milliseconds):
    assert parse_duration(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-3)

"""A type whose outputs depend on a program: what its component declares can be referred to, and nothing else."""

import pytest

from twin.domain.component_type import ComponentType

STACK = ComponentType(name="some.stack", provider="some", schema={}, secrets=("token",), outputs=("id",), declares=True)


@pytest.mark.parametrize(
    ("kind", "inputs", "offered"),
    [
        ("outputs", {"outputs": ["bucket"], "secrets": ["key"]}, ("id", "bucket")),
        ("secrets", {"outputs": ["bucket"], "secrets": ["key"]}, ("token", "key")),
        ("secrets", {}, ("token",)),
        ("outputs", {"outputs": "${other.outputs.names}"}, ("id",)),
    ],
)
def test_what_is_declared_is_offered(kind: str, inputs: dict[str, object], offered: tuple[str, ...]) -> None:
    assert STACK.offered(kind, inputs) == offered


def test_other_types_offer_what_they_always_do() -> None:
    fixed = ComponentType(name="some.thing", provider="some", schema={}, outputs=("id",))
    assert fixed.offered("outputs", {"outputs": ["more"]}) == ("id",), "an input of that name means nothing there"

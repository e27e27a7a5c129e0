"""What a route takes and answers, said where the route is; the OpenAPI document is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from api.http.bodies import JSON

KEY = "described"


class Body(Struct, frozen=True, kw_only=True):
    """A request's body. `type` None: bytes. `examples` by name, each a JSON value."""

    type: Any
    examples: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = JSON
    required: bool = True


class Content(Struct, frozen=True, kw_only=True):
    """One form of an answer."""

    type: Any
    example: Any
    media_type: str = JSON


class Answer(Struct, frozen=True, kw_only=True):
    """A success. `headers` by name with what they say. No contents: an empty answer."""

    says: str
    contents: tuple[Content, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Described(Struct, frozen=True, kw_only=True):
    """All of a route that its signature does not say."""

    answers: Mapping[int, Answer]
    body: Body | None = None
    problems: tuple[int, ...] = ()
    public: bool = False


def described(
    answers: Mapping[int, Answer], *, body: Body | None = None, problems: tuple[int, ...] = (), public: bool = False
) -> dict[str, Any]:
    """`opt` of a route. `problems` are those beside what every such route may answer."""
    return {KEY: Described(answers=answers, body=body, problems=problems, public=public), "public": public}


def json_answer(says: str, type_: Any, example: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON alone."""
    return Answer(says=says, contents=(Content(type=type_, example=example),), headers=headers or {})

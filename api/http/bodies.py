"""Reading JSON bodies: strict about the type, and exact about what is wrong and where."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request

from api.http.problems import Malformed, UnsupportedMediaType
from twin.domain.errors import Invalid
from twin.domain.mistyped import mistyped
from twin.domain.near import suggestion

MOST_BYTES = 1024 * 1024
"""Greatest size of a body that is not a bundle."""

_DEEPEST = 64

JSON = "application/json"
GZIP = "application/gzip"

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: Request[Any, Any, Any], media_type: str) -> bytes:
    """The body, if it is of that media type; raises `UnsupportedMediaType`."""
    given, _ = request.content_type
    if given != media_type:
        raise UnsupportedMediaType(
            f"Content-Type is {given or 'missing'!r}", field="Content-Type", mend=f"Send {media_type}."
        )
    return await request.body()


async def read_json(request: Request[Any, Any, Any], wanted: type[T]) -> T:
    """The body as that type. Raises `Malformed` for what is not JSON and `Invalid`, naming the field, for the rest."""
    return as_type(await read_object(request), wanted)


async def read_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The body as a JSON object."""
    body = await read_body(request, JSON)
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}", mend="Correct the body.") from None
    if not isinstance(plain, dict):
        raise Invalid("the body is not a JSON object", field="body")
    if _too_deep(plain):
        raise Invalid(f"the body is nested deeper than {_DEEPEST}", field="body", mend="Send flatter values.")
    if b"\\u0000" in body:  # no database of ours keeps it in text
        raise Invalid("the body holds a NUL character", field="body", mend="Leave it out.")
    return plain


def _too_deep(plain: Any) -> bool:
    """What walks values later recurses, and must not run out of stack."""
    level: list[Any] = [plain]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def as_type(plain: dict[str, Any], wanted: type[T]) -> T:
    """The object as a struct; raises `Invalid` naming the field."""
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    for name in plain:
        if name not in known:
            raise Invalid(f"{name}: there is no such field", field=name, mend=suggestion(name, known))
    try:
        return msgspec.convert(plain, wanted)
    except msgspec.ValidationError as error:
        raise mistyped(error, plain, wanted, whole="body", mend="See /schema/openapi.json.") from None

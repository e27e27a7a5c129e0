"""What is wrong with plain data that does not fit its type: which field, what may stand there, what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from twin.domain.errors import Invalid
from twin.domain.near import suggestion

_MISSING = "missing required field "
_PLACE = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")


def mistyped(error: msgspec.ValidationError, plain: Any, wanted: type[Any], *, whole: str, mend: str) -> Invalid:
    """The error of converting `plain` to `wanted`, for a person. `whole` is the field where it is about none, and
    `mend` what helps where nothing better is known."""
    message, _, path = str(error).replace("`", "").partition(" - at $")
    field = path.lstrip(".")
    if _MISSING in message:
        field = ".".join(each for each in (field, message.partition(_MISSING)[2]) if each)
        return Invalid(f"{field} is missing", field=field, mend=f"Give it. {mend}")
    if message.startswith("Invalid enum value") and (allowed := _allowed(wanted, path)):
        given = _given(plain, path)
        # A key stands for any in a path: the value is then told by the message alone.
        said = repr(given) if isinstance(given, str) else message.removeprefix("Invalid enum value ")
        one = ", ".join(allowed[:-1]) + f" or {allowed[-1]}" if len(allowed) > 1 else allowed[0]
        meant = suggestion(said.strip("'"), allowed)
        return Invalid(f"{field} is {said}; it must be {one}", field=field, mend=meant)
    return Invalid(f"{field or whole}: {message}", field=field or whole, mend=mend)


def _places(path: str) -> Iterator[str | int]:
    """`.members[0].role` as members, 0, role; what stands for any key as `...`."""
    for index, name in _PLACE.findall(path):
        yield name or (int(index) if index.isdigit() else index)


def _given(plain: Any, path: str) -> Any:
    for place in _places(path):
        try:
            plain = plain[place]
        except (LookupError, TypeError):
            return None
    return plain


def _allowed(wanted: type[Any], path: str) -> list[str]:
    """The words that may stand at that place."""
    types: list[inspect.Type] = [inspect.type_info(wanted)]
    for place in _places(path):
        types = [inner for each in types for kind in _kinds(each) for inner in _within(kind, place)]
    values = [kind.values for each in types for kind in _kinds(each) if isinstance(kind, inspect.LiteralType)]
    return [str(value) for each in values for value in each]


def _kinds(type_: inspect.Type) -> Iterator[inspect.Type]:
    """The types that it may be, without what only describes them."""
    if isinstance(type_, inspect.Metadata):
        yield from _kinds(type_.type)
    elif isinstance(type_, inspect.UnionType):
        for each in type_.types:
            yield from _kinds(each)
    else:
        yield type_


def _within(type_: inspect.Type, place: str | int) -> Iterator[inspect.Type]:
    match type_:
        case inspect.StructType(fields=fields):
            yield from (field.type for field in fields if field.encode_name == place)
        case inspect.TupleType(item_types=items):
            yield from items[place : place + 1] if isinstance(place, int) else items
        case inspect.DictType(value_type=value):
            yield value
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item) | inspect.SetType(item_type=item):
            yield item
        case _:
            return

"""JSON Schema (Draft 2020-12): compiled validators, defaults made explicit, and errors a person can act on.

Values here are as a blueprint writes them: they may hold references and escapes (see `references.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from twin.domain.digest import canonical
from twin.domain.errors import Invalid, OutOfBounds
from twin.domain.near import suggestion
from twin.domain.references import Reference, escape, pieces

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_LONGEST_SHOWN = 80


class Unresolved(str):
    """A text that holds a reference: where a text is allowed it is, whatever it will be."""

    __slots__ = ()


def literal(value: Any) -> Any:
    """What a schema should judge: escapes undone, texts that hold references as `Unresolved`."""
    match value:
        case str():
            found = pieces(value)
            if any(isinstance(each, Reference) for each in found):
                return Unresolved(value)
            return "".join(str(each) for each in found)
        case Mapping():
            return {key: literal(each) for key, each in value.items()}
        case list() | tuple():
            return [literal(each) for each in value]
        case _:
            return value


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Raise `Invalid`, naming the place under `field`, unless it is a self-contained Draft 2020-12 schema."""
    if (error := _validators().fault(schema)) is not None:
        path = join(field, error.absolute_path)
        raise Invalid(
            f"{path} is not JSON Schema: {error.message}", field=path, mend="Correct it: JSON Schema, Draft 2020-12."
        )
    for path, pointer in _pointers(schema, field):
        if not pointer.startswith("#") or _at(schema, pointer) is None:
            raise Invalid(
                f"{path} is {pointer!r}, which is not in this document",
                field=path,
                mend="Refer to a definition of the same schema, such as #/$defs/NAME.",
            )


def check(value: Any, schema: Mapping[str, Any], field: str, *, root: Mapping[str, Any] | None = None) -> None:
    """Raise `OutOfBounds` or `Invalid` for the most telling error; `root` holds the `$defs` when `schema` is a part."""
    validator = compiled(schema if root is None else {**schema, "$defs": root.get("$defs", {})})
    if (error := _validators().most_telling(validator, literal(value))) is not None:
        raise _problem(error, field)


def with_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A copy of the value with every default made explicit, also in nested objects, lists and alternatives.

    An absent object without a default of its own appears when its properties' defaults make it valid: that is how
    msgspec describes a nested struct with a default factory.
    """
    root = schema if root is None else root
    schema = _dereferenced(schema, root)
    if isinstance(value, Mapping):
        value = dict(value)
        properties: Mapping[str, Any] = schema.get("properties", {})
        for name, part in properties.items():
            if name in value:
                value[name] = with_defaults(value[name], part, root)
            else:
                _add_default(value, name, part, root)
        if isinstance(rest := schema.get("additionalProperties"), Mapping):
            for name in value.keys() - properties.keys():
                value[name] = with_defaults(value[name], rest, root)
    elif isinstance(value, list | tuple):
        items = schema.get("items")
        value = [with_defaults(each, items, root) if isinstance(items, Mapping) else each for each in value]
    for part in schema.get("allOf", ()):
        value = with_defaults(value, part, root)
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        candidate = with_defaults(value, part, root)
        if compiled({**part, "$defs": root.get("$defs", {})}).is_valid(literal(candidate)):
            return candidate
    return value


def join(field: str, path: Iterable[str | int]) -> str:
    """A dotted path; list positions in brackets: `components.jobs.inputs.subjects[0]`."""
    for part in path:
        field = f"{field}[{part}]" if isinstance(part, int) else f"{field}.{part}" if field else part
    return field


def shown(value: Any) -> str:
    """A value as JSON, cut when long."""
    if isinstance(value, Unresolved):
        return f"the reference {value}" if len(pieces(value)) == 1 else f"the text {value}"
    text = msgspec.json.encode(value, enc_hook=str).decode()  # the hook is for references amid the value
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def compiled(schema: Mapping[str, Any]) -> Any:
    """The validator of a schema; kept, by the schema's content."""
    return _validators().compiled(canonical(schema))


def _validators() -> ModuleType:
    from twin.domain import json_validators  # on first use: a start needs no schema, and it is slow to load

    return json_validators


def _problem(error: ValidationError, field: str) -> Invalid:
    path = join(field, error.absolute_path)
    value: Any = error.instance
    bound: Any = error.validator_value
    hidden = isinstance(error.schema, Mapping) and error.schema.get("writeOnly")
    saying = f"{path} is {'a hidden value' if hidden else shown(value)}"
    match error.validator:
        case "required":
            missing = next(name for name in bound if name not in value)
            path = join(path, [missing])
            return Invalid(f"{path} is missing", field=path, mend=f"Give {path} a value.")
        case "additionalProperties" | "unevaluatedProperties":
            known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
            extra = next((name for name in value if name not in known), "?")
            path = join(path, [extra])
            return Invalid(f"{path} is not known", field=path, mend=suggestion(extra, known))
        case "type":
            wanted = " or ".join([bound] if isinstance(bound, str) else bound)
            because = " and a reference gives text" if isinstance(value, Unresolved) else ""
            return Invalid(
                f"{saying}; it must be {_article(wanted)}{because}", field=path, mend=f"Give {_article(wanted)}."
            )
        case str(keyword) if keyword in _BOUNDS:
            limit, mend = _BOUNDS[keyword]
            asked = ", ".join(shown(each) for each in bound) if keyword == "enum" else _bound_text(bound)
            return OutOfBounds(
                f"{saying}; {limit} {asked}",
                field=path,
                mend=f"Give {mend} {asked}.",
                details={"keyword": keyword, "bound": bound} | ({} if hidden else {"value": value}),
            )
        case _:
            message = "it does not fit its schema" if hidden else error.message
            return Invalid(f"{saying}: {message}", field=path, mend="See the schema of this input.")


_BOUNDS = {
    "maximum": ("the maximum is", "at most"),
    "minimum": ("the minimum is", "at least"),
    "exclusiveMaximum": ("it must be less than", "less than"),
    "exclusiveMinimum": ("it must be more than", "more than"),
    "multipleOf": ("it must be a multiple of", "a multiple of"),
    "maxLength": ("the greatest length is", "a length of at most"),
    "minLength": ("the smallest length is", "a length of at least"),
    "maxItems": ("the greatest number of items is", "at most that many:"),
    "minItems": ("the smallest number of items is", "at least that many:"),
    "maxProperties": ("the greatest number of entries is", "at most that many:"),
    "minProperties": ("the smallest number of entries is", "at least that many:"),
    "pattern": ("it must match", "a text that matches"),
    "enum": ("it must be one of", "one of"),
    "const": ("it must be", "exactly"),
}


def _bound_text(bound: Any) -> str:
    return bound if isinstance(bound, str) else shown(bound)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" else noun if noun == "null" else f"a {noun}"


def _add_default(value: dict[str, Any], name: str, part: Any, root: Mapping[str, Any]) -> None:
    schema = _dereferenced(part, root) if isinstance(part, Mapping) else {}
    if "default" in schema:
        value[name] = with_defaults(escape(schema["default"]), schema, root)
    elif "properties" in schema:
        made = with_defaults({}, schema, root)
        if made and compiled({**schema, "$defs": root.get("$defs", {})}).is_valid(literal(made)):
            value[name] = made


def _dereferenced(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its `$ref`s followed; what stands beside a reference (a default, a title) wins."""
    if not isinstance(schema, Mapping):
        return {}
    seen: set[str] = set()
    while (pointer := schema.get("$ref")) is not None and pointer not in seen:
        seen.add(pointer)
        beside = {key: each for key, each in schema.items() if key != "$ref"}
        schema = {**(_at(root, pointer) or {}), **beside}
    return dict(schema)


def _at(root: Mapping[str, Any], pointer: str) -> Mapping[str, Any] | None:
    found: Any = root
    for part in pointer.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _pointers(schema: Any, field: str) -> Iterator[tuple[str, str]]:
    match schema:
        case Mapping():
            for key, each in schema.items():
                if key in ("$ref", "$dynamicRef") and isinstance(each, str):
                    yield join(field, [key]), each
                elif key not in ("default", "const", "enum", "examples"):
                    yield from _pointers(each, join(field, [key]))
        case list():
            for index, each in enumerate(schema):
                yield from _pointers(each, join(field, [index]))

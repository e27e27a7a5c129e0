"""References: `${inputs.replicas}`, `${env.name}`, `${db.secrets.url}`, `${db.outputs.host}`, and nothing more.

A text that is exactly one reference stands for the value itself, with its type; within a longer text the value is
interpolated. `$${` is a literal `${`. More precisely, dollars directly before a brace come in pairs, each a literal
dollar; an odd one out opens a reference. So every text can be written, also a dollar before a reference (`$$${…}`).
Keys of mappings are never interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from twin.domain.errors import Invalid
from twin.domain.near import suggestion

ENVIRONMENT_NAMES = ("id", "name", "project", "tier")
RESERVED = ("env", "inputs")
"""Words that no component may be called."""

_OPENING = re.compile(r"(\$+)\{")
_BODY = re.compile(
    r"(?:(?P<scope>inputs|env)|(?P<component>[a-z](?:[-a-z0-9]{0,24}[a-z0-9])?)\.(?P<kind>[a-z]+))"
    r"\.(?P<name>[A-Za-z_][-A-Za-z0-9_]*)"
)
_KINDS = ("outputs", "secrets")
_FORMS = "${inputs.NAME}, ${env.NAME}, ${COMPONENT.secrets.NAME} or ${COMPONENT.outputs.NAME}; a literal ${ is $${"


class Reference(Struct, frozen=True):
    """One reference. `kind` is inputs, env, secrets or outputs; `component` is None for the first two."""

    component: str | None
    kind: str
    name: str

    def __str__(self) -> str:
        return "${" + ".".join(part for part in (self.component, self.kind, self.name) if part) + "}"


Lookup = Callable[[Reference], Any]


def references(value: Any) -> frozenset[Reference]:
    """Every reference in a nested value. Raises `Invalid` on what opens like a reference but is none."""
    return frozenset(_references(value))


def resolve(value: Any, lookup: Lookup) -> Any:
    """The value with every reference replaced by what `lookup` gives, and escapes undone.

    Raises `Invalid` when a list, mapping or null would have to stand within a longer text.
    """
    return _map(value, lambda text: _resolve_text(text, lookup))


def substitute_inputs(value: Any, inputs: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """The value with inputs and environment put in and component references left in place: still to be resolved.

    What is put in is escaped, so that a `${` in it is never interpreted. Raises `Invalid` for an input without value.
    """

    def lookup(reference: Reference) -> Any:
        if reference.component is not None:
            return reference
        known: Mapping[str, Any] = inputs if reference.kind == "inputs" else environment
        if reference.name not in known:
            path = f"{reference.kind}.{reference.name}"
            raise Invalid(f"{path} has no value, but {reference} needs one", field=path, mend=f"Give {path} a value.")
        return known[reference.name]

    return _map(value, lambda text: _substitute_text(text, lookup))


def escape(value: Any) -> Any:
    """The value written so that `resolve` gives it back: nothing in it is interpreted."""
    return _map(value, _escape_text)


def pieces(text: str) -> list[str | Reference]:
    """Literal texts (unescaped, never empty, never two in a row) and references of a text, in order."""
    found: list[str | Reference] = []
    literal, position = "", 0
    while opening := _OPENING.search(text, position):
        dollars = len(opening[1])
        literal += text[position : opening.start()] + "$" * (dollars // 2)
        position = opening.end()
        if dollars % 2 == 0:
            literal += "{"
            continue
        closing = text.find("}", position)
        body = text[position:] if closing < 0 else text[position:closing]
        found += (
            [literal, _reference(body, closed=closing >= 0)] if literal else [_reference(body, closed=closing >= 0)]
        )
        literal, position = "", closing + 1
    literal += text[position:]
    return [*found, literal] if literal else found


def _reference(body: str, *, closed: bool) -> Reference:
    whole = "${" + body + ("}" if closed else "")
    match = _BODY.fullmatch(body) if closed else None
    if match is None:
        problem = "is not a reference" if closed else "opens a reference and does not close it"
        raise Invalid(f"{whole} {problem}", mend=f"Write {_FORMS}.")
    if match["scope"] == "env" and match["name"] not in ENVIRONMENT_NAMES:
        raise Invalid(
            f"{whole}: the environment has no {match['name']!r}", mend=f"Known: {', '.join(ENVIRONMENT_NAMES)}."
        )
    if match["scope"]:
        return Reference(None, match["scope"], match["name"])
    if match["kind"] not in _KINDS:
        raise Invalid(f"{whole}: a component has no {match['kind']!r}", mend=suggestion(match["kind"], _KINDS))
    return Reference(match["component"], match["kind"], match["name"])


def _references(value: Any) -> Iterator[Reference]:
    match value:
        case str():
            yield from (piece for piece in pieces(value) if isinstance(piece, Reference))
        case Mapping():
            for each in value.values():
                yield from _references(each)
        case list() | tuple():
            for each in value:
                yield from _references(each)


def _map(value: Any, change: Callable[[str], Any]) -> Any:
    match value:
        case str():
            return change(value)
        case Mapping():
            return {key: _map(each, change) for key, each in value.items()}
        case list() | tuple():
            return [_map(each, change) for each in value]
        case _:
            return value


def _resolve_text(text: str, lookup: Lookup) -> Any:
    match pieces(text):
        case [Reference() as only]:
            return lookup(only)
        case several:
            return "".join(each if isinstance(each, str) else _as_text(each, lookup(each)) for each in several)


def _substitute_text(text: str, lookup: Lookup) -> Any:
    match pieces(text):
        case [Reference(component=None) as only]:
            return escape(lookup(only))
        case several:
            # Neighbouring texts are joined before they are escaped: a value that ends in `$` may precede a `{`.
            parts: list[str | Reference] = []
            for each in several:
                found = each if isinstance(each, str) else lookup(each)
                new = found if isinstance(each, str) or isinstance(found, Reference) else _as_text(each, found)
                if isinstance(new, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += new
                else:
                    parts.append(new)
            return _written(parts)


def _written(parts: list[str | Reference]) -> str:
    text = ""
    for index, part in enumerate(parts):
        if isinstance(part, Reference):
            text += str(part)
            continue
        before_reference = index + 1 < len(parts)
        text += _escape_text(part)
        if before_reference:
            text += "$" * (len(part) - len(part.rstrip("$")))
    return text


def _escape_text(text: str) -> str:
    return _OPENING.sub(lambda found: found[1] * 2 + "{", text)


def _as_text(reference: Reference, value: Any) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float():
            return msgspec.json.encode(value).decode()
        case _:
            raise Invalid(
                f"{reference} is {type(value).__name__}, which cannot stand within a longer text",
                mend=f"Let the text be exactly {reference}, or refer to a text, a number or a boolean.",
            )

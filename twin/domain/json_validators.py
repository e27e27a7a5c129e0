"""The validators of JSON Schema (Draft 2020-12), with room for references not resolved yet.

Apart from `json_schema`, which imports it on first use: the library behind it takes a twentieth of a second to load,
and a start needs no schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema
import msgspec
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry

from twin.domain.json_schema import Unresolved

_DRAFT = jsonschema.Draft202012Validator


def fault(schema: Mapping[str, Any]) -> SchemaError | None:
    """What makes it no schema."""
    try:
        _DRAFT.check_schema(schema, format_checker=_DRAFT.FORMAT_CHECKER)
    except SchemaError as error:
        return error
    return None


def most_telling(validator: Any, value: Any) -> ValidationError | None:
    """The error that helps most; None for a valid value."""
    found: ValidationError | None = best_match(validator.iter_errors(value))
    return found


@lru_cache(maxsize=512)
def compiled(schema: bytes) -> Any:
    """The validator of a schema in canonical JSON; kept."""
    # An empty registry: a schema never makes the twin fetch anything.
    return _Validator(msgspec.json.decode(schema), registry=Registry())


def _lenient(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    strict = _DRAFT.VALIDATORS[keyword]

    def check_unless_unresolved(validator: Any, bound: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, Unresolved) and (keyword != "enum" or any(isinstance(each, str) for each in bound)):
            return
        yield from strict(validator, bound, instance, schema) or ()

    return check_unless_unresolved


_Validator = extend(  # type: ignore[no-untyped-call]
    _DRAFT, {keyword: _lenient(keyword) for keyword in ("pattern", "minLength", "maxLength", "enum", "const", "format")}
)

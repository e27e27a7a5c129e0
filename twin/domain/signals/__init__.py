"""The signals: one file each, its data and its rule. A new one is a new file and one line in `_NAMES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Union

import msgspec

from twin.domain.decider import Context
from twin.domain.environment import Environment
from twin.domain.errors import Invalid
from twin.domain.events import Event
from twin.domain.mistyped import mistyped
from twin.domain.near import suggestion
from twin.domain.signals.base import Signal

_NAMES = (
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
)
"""The registration: the file's name is the signal's."""

_MODULES = tuple(import_module(f"{__name__}.{name}") for name in _NAMES)

Rule = Callable[[Any, Any, Context], Iterator[Event]]


def _struct_of(module: ModuleType) -> type[Signal]:
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Signal) and found.__module__ == module.__name__
    )


BY_NAME: Mapping[str, type[Signal]] = {
    str(struct.__struct_config__.tag): struct for struct in map(_struct_of, _MODULES)
}
"""Every signal by its name."""

AnySignal: Any = Union[tuple(BY_NAME.values())]  # noqa: UP007
"""The tagged union, for schemas."""

_RULES: Mapping[type[Signal], Rule] = {_struct_of(module): module.decide for module in _MODULES}


def decide(env: Environment | None, signal: Signal, context: Context) -> Iterator[Event]:
    """The signal's own rule."""
    return _RULES[type(signal)](env, signal, context)


def parse(body: Mapping[str, Any]) -> Signal:
    """The signal that a JSON object is. Raises `Invalid` naming the field and the mend."""
    name = body.get("signal")
    if not isinstance(name, str) or name not in BY_NAME:
        known = BY_NAME.keys() - {"create"}
        problem = "is missing" if name is None else f"is {name!r}, which is no signal"
        raise Invalid(f"signal {problem}", field="signal", mend=suggestion(str(name or ""), known))
    struct = BY_NAME[name]
    fields = set(struct.__struct_fields__) | {"signal"}
    given = dict(body)
    if struct.folds_into is not None:
        unknown = {field: given.pop(field) for field in list(given) if field not in fields}
        if unknown:
            folded = given.get(struct.folds_into) or {}
            given[struct.folds_into] = {**folded, **unknown} if isinstance(folded, dict) else folded
    for field in given:
        if field not in fields:
            raise Invalid(
                f"{field}: {name} has no such field", field=field, mend=suggestion(field, fields - {"signal"})
            )
    try:
        return msgspec.convert(given, struct)
    except msgspec.ValidationError as problem:
        raise mistyped(problem, given, struct, whole="signal", mend=f"See the schema of {name}.") from None

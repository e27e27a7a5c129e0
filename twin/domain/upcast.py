"""Upcasters: what older versions wrote, as this version writes it.

`schema_v` is raised when a stored struct changes so that old bytes would not decode or would mean something else, or
that an older version could not read what this one writes; the step from v to v+1 is then added here, and a golden
history of v stays in tests/ for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twin.domain.errors import Unavailable

Plain = dict[str, Any]
Upcasters = Mapping[int, Callable[[Plain], Plain]]


def _as_it_is(plain: Plain) -> Plain:
    return plain


# 2 has more: credentials that rotate, copies and holds, members. What 1 wrote means the same in it; only a program that
# knows no more than 1 must leave it alone.
# 3 knows whom a component admits. In what 2 wrote that is unknown until it is granted anew; a program that knows no
# more than 2 would let nobody in after a suspension.
EVENTS: Upcasters = {1: _as_it_is, 2: _as_it_is}
STATES: Upcasters = {1: _as_it_is, 2: _as_it_is}


def upcast_event(plain: Plain, schema_v: int, *, to: int, steps: Upcasters = EVENTS) -> Plain:
    """An event of version `schema_v` as one of version `to`. Raises `Unavailable` for what is newer than we are."""
    return _upcast(plain, schema_v, steps, to)


def upcast_state(plain: Plain, schema_v: int, *, to: int, steps: Upcasters = STATES) -> Plain:
    """The same for a snapshot."""
    return _upcast(plain, schema_v, steps, to)


def _upcast(plain: Plain, schema_v: int, steps: Upcasters, to: int) -> Plain:
    if schema_v > to:
        raise Unavailable(
            f"written by a newer version (schema_v {schema_v}; this one understands {to})",
            mend="Run at least the version that wrote it.",
            code="newer_schema",
        )
    for version in range(schema_v, to):
        plain = steps[version](plain)
    return plain

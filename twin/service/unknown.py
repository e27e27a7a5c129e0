"""What somebody names who reads, and there is none of: with what there is."""

from __future__ import annotations

from twin.domain.environment import Environment
from twin.domain.errors import NotFound
from twin.domain.near import near_misses, suggestion


def no_component(env: Environment, name: str) -> NotFound:
    """That the environment has no component of that name."""
    known = env.desired.components
    return NotFound(
        f"{env.project}/{env.name} has no component {name!r}; it has: {', '.join(sorted(known)) or 'none'}",
        field="component",
        near=near_misses(name, known),
        mend=suggestion(name, known),
    )

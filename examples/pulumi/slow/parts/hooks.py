"""What the twin asks beside Pulumi: what a cut create has left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parts import cloud


def lookup(type: str, name: str, inputs: Mapping[str, Any]) -> str | None:  # noqa: A002 - the twin's name for it
    """The id of the part of this name; None if there is none. Raises ValueError if there are several."""
    found = cloud.named(inputs["cloud"], inputs["stack"], inputs["name"])
    if len(found) > 1:
        raise ValueError(f"{inputs['name']} stands {len(found)} times: {', '.join(found)}")
    return found[0] if found else None

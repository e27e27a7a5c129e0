"""What previews are called: entities, environments, and what of a branch's name may stand in an input."""

from __future__ import annotations

import re

_OTHER = re.compile(r"[^a-z0-9]+")


def source_id(name: str) -> str:
    """The entity that stands for the preview source of that name."""
    return f"src_{name}"


def pull_id(source: str, number: int) -> str:
    """The entity that stands for a pull request of a source (its name, not its id)."""
    return f"pr_{source}_{number}"


def environment_name(prefix: str, number: int) -> str:
    """`pr-42`: derived from the number alone, so that no branch and no title has a say in it."""
    return f"{prefix}-{number}"


def slug(text: str, most: int = 40) -> str:
    """A text as lower-case letters, digits and single hyphens: `feature/Blue_Button` is `feature-blue-button`."""
    return _OTHER.sub("-", text.lower()).strip("-")[:most].rstrip("-") or "x"

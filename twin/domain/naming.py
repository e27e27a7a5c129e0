"""Names and labels that people choose."""

from __future__ import annotations

import re
from collections.abc import Mapping

from twin.domain.errors import Invalid
from twin.domain.identity import COMPONENT_PATTERN, NAME_PATTERN

_LABEL = re.compile(r"^[A-Za-z0-9]([-_./A-Za-z0-9]{0,61}[A-Za-z0-9])?$")


def check_name(name: str, field: str) -> None:
    """The name of an environment or project: lower case letters, digits and hyphens, at most 40 characters."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid(
            f"{field} is {name!r}; a name begins with a letter and has lower case letters, digits and hyphens, "
            "at most 40",
            field=field,
            mend="For example: shop, shop-dev, pr-1234.",
        )


def check_component_name(name: str, field: str) -> None:
    """The name of a component: as other names, at most 26 characters."""
    if not re.fullmatch(COMPONENT_PATTERN, name):
        raise Invalid(
            f"{field} is {name!r}; a component's name begins with a letter and has lower case letters, digits and "
            "hyphens, at most 26",
            field=field,
            mend="For example: db, cache, jobs-high.",
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """At most 32 labels; keys of letters, digits and -_./ up to 63 characters; values up to 255."""
    if len(labels) > 32:
        raise Invalid(f"labels: {len(labels)} are given; the maximum is 32", field="labels")
    for key, value in labels.items():
        if not _LABEL.fullmatch(key):
            raise Invalid(f"labels: {key!r} is not a label's name", field="labels", mend="For example: team, app/part.")
        if len(value) > 255:
            raise Invalid(f"labels.{key} has {len(value)} characters; the maximum is 255", field=f"labels.{key}")

"""Reading a repository's own `.twin/preview.yaml`, which whoever can push a branch can write.

It is read as what it may be: small, flat, and a tree. Anchors, aliases, tags and directives, by which a few bytes
become very many values or ones that JSON does not have, are refused, and so is more than a file of its kind needs,
while it is being parsed and before anything is made of it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    NodeEvent,
)

from twin.domain.errors import Invalid
from twin.domain.previews.narrowing import FILE
from twin.domain.previews.plain import DEEPEST, MOST_VALUES

MOST = 8 * 1024
"""Bytes of the file."""

_UNREADABLE = (YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, AssertionError)
"""What the parser raises when it is given what it did not think of: a date of month 13, a number of 6,000 digits."""


async def read_aside(content: bytes) -> Any:
    """`read` in a thread of its own, as it may take a good part of a second."""
    return await asyncio.to_thread(read, content)


def read(content: bytes) -> Any:
    """What a file says; an `Invalid` if it says nothing that can be understood."""
    if len(content) > MOST:
        return Invalid(f"it has more than {MOST} bytes", field=FILE, mend="Have it smaller.")
    try:
        text = content.decode()
        _check_shape(text)
        return YAML(typ="safe", pure=True).load(text)
    except Invalid as refused:
        return refused
    except (*_UNREADABLE, RecursionError) as error:
        # It may quote what the file has, and half a character cannot be kept.
        line = " ".join(str(error).split())[:300].encode(errors="backslashreplace").decode()
        return Invalid(f"it is no YAML that can be read: {line}", field=FILE, mend="Correct it, and push.")


def _check_shape(text: str) -> None:
    """Raise `Invalid` for what it may not have. The parser goes on only as far as it is asked."""
    depth = values = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if (why := _refused(event)) is not None:
            raise Invalid(f"it has {why}", field=FILE, mend="Write it out.")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        values += isinstance(event, NodeEvent)
        if depth > DEEPEST + 1:
            raise Invalid(f"it is nested deeper than {DEEPEST}", field=FILE, mend="Flatten it.")
        if values > MOST_VALUES:
            raise Invalid(f"it has more than {MOST_VALUES} values", field=FILE, mend="Have it smaller.")


def _refused(event: Event) -> str | None:
    match event:
        case AliasEvent():
            return "an alias"
        case NodeEvent(anchor=str()):
            return "an anchor"
        case NodeEvent() if getattr(event, "ctag", None) is not None:
            return "a tag"
        case DocumentStartEvent() if event.version or event.tags:
            return "a directive"
        case _:
            return None

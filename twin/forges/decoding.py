"""Reading what a forge answers."""

from __future__ import annotations

from typing import TypeVar

import httpx
import msgspec

from twin.forges import failures

T = TypeVar("T")


def decoded(name: str, response: httpx.Response, type_: type[T]) -> T:
    """The answer of the forge `name` as a `type_`. Raises `Transient` if it is none: what cannot be read must not be
    acted upon."""
    try:
        return msgspec.json.decode(response.content, type=type_)
    except msgspec.MsgspecError as error:
        raise failures.not_understood(name, str(error)[:200]) from None

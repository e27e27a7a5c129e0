"""Opaque cursors of keyset pages: the position after which the next page begins."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from twin.domain.errors import Invalid

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What the databases can compare with: a forged cursor may hold anything."""


class EventPosition(Struct, frozen=True, array_like=True, tag="e"):
    """The place of one event: in commit order (`xid`, `id`), and in its own entity's stream (`seq`)."""

    xid: Number
    id: Number
    entity: str
    seq: Number


class EntityPosition(Struct, frozen=True, array_like=True, tag="n"):
    """A place in the list of entities."""

    id: str


class OperationPosition(Struct, frozen=True, array_like=True, tag="o"):
    """A place in the list of an entity's operations."""

    seq: Number


P = TypeVar("P", EventPosition, EntityPosition, OperationPosition)

_encoder = msgspec.json.Encoder()


def to_cursor(position: EventPosition | EntityPosition | OperationPosition) -> str:
    """The cursor of a position."""
    return urlsafe_b64encode(_encoder.encode(position)).rstrip(b"=").decode()


def from_cursor(cursor: str, kind: type[P]) -> P:
    """The position that a cursor of this kind stands for; raises `Invalid` for anything else."""
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid(
            f"{cursor!r} is not a cursor of this list.",
            field="after",
            mend="Use the `next` of a page unchanged, or leave it out to begin at the start.",
        ) from error

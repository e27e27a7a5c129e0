"""The hash chain of an entity's events: each hash covers the one before and the stored bytes of its own event.

A changed, removed or inserted row breaks the chain at its place; only a rewritten tail needs a checkpoint kept
elsewhere to be found.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw, Struct

from twin.domain.identity import Actor

GENESIS = bytes(32)
"""Stands before the first event."""


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event with all that its row says, as hashed and stored in `events.body`. `pull`, which the first versions did
    not know, is left out where there is none."""

    entity: str
    kind: str
    seq: int
    at: datetime
    actor: Actor
    request_id: str | None
    type: str
    project: str
    name: str
    tier: str
    operation_id: str | None
    component: str | None
    schema_v: int
    event: Raw
    pull: str | None = None


COLUMNS = (
    *(
        "entity",
        "seq",
        "request_id",
        "type",
        "project",
        "name",
        "tier",
        "operation_id",
        "component",
        "schema_v",
        "pull",
    ),
)
"""The fields of the envelope that are columns of the same name and value."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def seal(envelope: Envelope) -> bytes:
    """The bytes to store."""
    return _encoder.encode(envelope)


def unseal(body: Any) -> Envelope:
    """The envelope in stored bytes; raises `msgspec.MsgspecError` if they are none."""
    return _decoder.decode(body)


def link(previous: bytes, body: bytes) -> bytes:
    """The hash of an event whose predecessor has the hash `previous`."""
    return sha256(previous + body).digest()

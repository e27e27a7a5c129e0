"""Digests of JSON-able values: equal values have equal digests, whatever the order of their keys."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


def canonical(value: Any) -> bytes:
    """The one JSON encoding of a value: keys sorted, no white space. `1` and `1.0` are different values."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: Any) -> str:
    """SHA-256 of the canonical encoding, cut to 128 bits: 32 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()[:32]

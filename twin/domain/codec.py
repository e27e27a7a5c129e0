"""How entities are written down: states and events as JSON, and what older versions wrote, brought up to this one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from twin.domain.upcast import Upcasters, upcast_event, upcast_state

S = TypeVar("S")
E = TypeVar("E")

_encoder = msgspec.json.Encoder()


class JsonCodec(Generic[S, E]):
    """The half of a `Decider` that is the same for every kind. `event` is the union of its events; `older_states` and
    `older_events` are the steps from older versions, none for a kind that has no older one."""

    schema_v: int
    state: type[S]
    event: Any
    older_states: Upcasters = MappingProxyType({})
    older_events: Upcasters = MappingProxyType({})

    def __init__(self) -> None:
        self._states, self._events = msgspec.json.Decoder(self.state), msgspec.json.Decoder(self.event)

    def encode_state(self, state: S) -> bytes:
        """The snapshot as JSON."""
        return _encoder.encode(state)

    def decode_state(self, body: bytes, schema_v: int) -> S:
        """A snapshot of this or an older version."""
        if schema_v == self.schema_v:
            return self._states.decode(body)
        plain = upcast_state(msgspec.json.decode(body), schema_v, to=self.schema_v, steps=self.older_states)
        return msgspec.convert(plain, self.state)

    def encode_event(self, event: E) -> bytes:
        """One event as JSON."""
        return _encoder.encode(event)

    def decode_event(self, body: bytes, schema_v: int) -> E:
        """An event of this or an older version."""
        if schema_v == self.schema_v:
            return self._events.decode(body)  # type: ignore[no-any-return]
        plain = upcast_event(msgspec.json.decode(body), schema_v, to=self.schema_v, steps=self.older_events)
        return msgspec.convert(plain, self.event)  # type: ignore[no-any-return]

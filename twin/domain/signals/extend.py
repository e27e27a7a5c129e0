"""extend: let it live longer (or shorter)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.durations import parse_duration
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class Extend(Signal, tag="extend", frozen=True, kw_only=True):
    """`ttl` counts from now: `24h`, `7d`, or `never` for no end."""

    ttl: str | float


def decide(env: Environment, extend: Extend, context: Context) -> Iterator[Event]:
    """Another time of expiry."""
    endless = extend.ttl == "never"
    expires_at = None if endless else context.now + timedelta(seconds=parse_duration(extend.ttl, "ttl"))
    yield from desire(env, replace(env.desired, expires_at=expires_at), signal=extend, context=context)

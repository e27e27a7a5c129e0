"""unprotect: allow destruction again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.events import Event
from twin.domain.signals.base import Signal


class Unprotect(Signal, tag="unprotect", frozen=True, kw_only=True):
    """An operator's signal: what is protected is so for a reason."""

    role: ClassVar[str] = "operator"


def decide(env: Environment, unprotect: Unprotect, context: Context) -> Iterator[Event]:
    """Desired: not protected."""
    yield from desire(env, replace(env.desired, protected=False), signal=unprotect, context=context)

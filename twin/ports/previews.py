"""The port to previews: what the applies of a plan would change in the world, before anybody asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from twin.domain.environment import Environment
from twin.domain.steps import FailedBlocked, FailedTerminal, FailedTransient, Plan
from twin.ports.provider import Change


class Preview(Struct, frozen=True, kw_only=True):
    """What one apply would change; with `failure`, why that cannot be told."""

    changes: tuple[Change, ...] = ()
    failure: FailedTransient | FailedBlocked | FailedTerminal | None = None


class Previews(Protocol):
    """Asks providers what they would do."""

    async def previews(self, env: Environment, left: Plan) -> Mapping[str, Preview]:
        """By the keys of those applies of the plan whose component type previews; `env` is the environment that the
        plan is of, which may only be imagined. Within a bounded time, without changing or keeping anything; a preview
        that fails says so and hinders no other."""
        ...

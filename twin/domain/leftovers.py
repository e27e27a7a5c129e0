"""What an inventory still found: what it stops, who can remove it, and how."""

from __future__ import annotations

from collections.abc import Sequence

from twin.domain.environment import Environment
from twin.domain.steps import FailedBlocked, Found, StepKey

MOST = 5
"""So many are told with their commands in one text; the certificate's place has all."""


def leftover(env: Environment, key: StepKey, found: Sequence[Found]) -> FailedBlocked:
    """The sweep of `key` waits until somebody has removed what it found."""
    names = ", ".join(f"{each.kind} {each.external_id}" for each in found)
    return FailedBlocked(
        message=f"still on {key.component} with this environment's mark: {names}",
        block=f"leftover/{env.id}/{key.component}",
        owner="platform",
        mend=removal(env, found),
    )


def removal(env: Environment, found: Sequence[Found]) -> str:
    """How they are removed, one after the other, and how it goes on then."""
    told = [each.removal for each in found[:MOST] if each.removal]
    silent = ", ".join(f"{each.kind} {each.external_id}" for each in found[:MOST] if not each.removal)
    ways = [*told, f"remove {silent} by hand"] if silent else told
    if len(found) > MOST:
        ways.append(f"and {len(found) - MOST} more, which twin certificate {env.project}/{env.name} names")
    return f"Remove what is left: {'; '.join(ways)}; then: twin retry {env.project}/{env.name}"

"""Following: another entity, such as the pull request that an environment is the preview of, is told that it changed.

What is told is no more than that: the follower looks by itself. So nothing that it missed or heard twice does harm.
"""

from __future__ import annotations

from msgspec import Struct

from twin.domain.digest import digest
from twin.domain.environment import Environment
from twin.domain.status import status


class FollowedChanged(Struct, frozen=True, kw_only=True):
    """The input that every kind of follower understands: the environment that it follows has changed."""

    environment: str


class TellFollower(Struct, frozen=True, kw_only=True):
    """To the environment: its follower knows that it looks like this."""

    news: str


def news(env: Environment) -> str | None:
    """Names how the environment looks to its follower; None if nobody follows, or he knows it."""
    if env.follower is None:
        return None
    now = digest(
        [
            status(env),
            env.generation,
            {key: [failure.kind, failure.message] for key, failure in env.failures.items()},
            {key: [each.digest, each.outputs, each.suspended] for key, each in env.instances.items()},
            sorted(env.operations),
            {target: len(found) for target, found in env.leftovers.items()},
        ]
    )
    return now if now != env.heard else None

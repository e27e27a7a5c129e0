"""Redis: one key prefix with a user of its own per component, on a server that is already there."""

from providers.redis.provider import RedisKind

KIND = RedisKind()
"""The provider as the composition root registers it."""

__all__ = ["KIND"]

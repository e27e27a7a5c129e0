"""Caddy: a route with a name of its own per component, on a server that is already there."""

from providers.caddy.provider import CaddyKind

KIND = CaddyKind()
"""The provider as the composition root registers it."""

__all__ = ["KIND"]

"""NATS: accounts with a JetStream stream. See README.md."""

from providers.nats.provider import NatsKind

KIND = NatsKind()

__all__ = ["KIND"]

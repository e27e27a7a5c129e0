"""Real PostgreSQL, Redis and NATS from pip wheels: the servers behind the embedded default's targets."""

from providers.local.server import ServerStatus
from providers.local.servers import LocalServers

__all__ = ["LocalServers", "ServerStatus"]

"""Real PostgreSQL, Redis and NATS from pip wheels, and Caddy where it is: the embedded default's servers."""

from providers.local.server import ServerStatus
from providers.local.servers import LocalServers

__all__ = ["LocalServers", "ServerStatus"]

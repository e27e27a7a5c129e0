"""All local servers of one directory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from providers.local.caddy import CaddyServer, find_program
from providers.local.files import private_directory
from providers.local.nats import NatsServer
from providers.local.postgres import PostgresServer
from providers.local.redis import RedisServer
from providers.local.server import Server, ServerStatus, Software
from twin.domain.errors import Invalid
from twin.domain.targets import Target

_SOFTWARE: dict[str, Callable[[Path], Software]] = {
    "postgres": PostgresServer,
    "redis": RedisServer,
    "nats": NatsServer,
    "caddy": CaddyServer,
}

OPTIONAL = "caddy"
"""In no wheel: a machine that lacks it does without, unless it is asked for by name."""


class LocalServers:
    """PostgreSQL, Redis, NATS and, where it is installed, Caddy; each with its data in `directory/<kind>`.

    The servers belong to the directory and not to the process: they go on when it dies, and any later instance for
    the same directory finds them. Every method is synchronous and may be called by several processes at once.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._servers = {kind: Server(make(self._directory / kind)) for kind, make in _SOFTWARE.items()}

    def start(self, *kinds: str) -> None:
        """Have these kinds (default: all that can be) running and answering, in parallel; those that do are left alone.

        Raises `Unavailable`, with the end of its log, for a server that does not come up (the others stay up), and
        `Invalid` for an unknown kind.
        """
        chosen = self._chosen(kinds or tuple(kind for kind in self._servers if kind != OPTIONAL or find_program()))
        private_directory(self._directory)
        with ThreadPoolExecutor(len(chosen)) as pool:
            starts = [pool.submit(server.start) for server in chosen]
        for start in starts:
            start.result()

    def stop(self, *kinds: str) -> None:
        """Have these kinds (default: all) ended, with their data kept; already stopped is success."""
        chosen = self._chosen(kinds)
        with ThreadPoolExecutor(len(chosen)) as pool:
            stops = [pool.submit(server.stop) for server in chosen]
        for stop in stops:
            stop.result()

    def remove(self, *kinds: str) -> None:
        """Stop these kinds (default: all) and delete their data, also those kept outside of the directory."""
        for server in self._chosen(kinds):
            server.remove()

    def status(self) -> tuple[ServerStatus, ...]:
        """How each kind is now; one that is not installed is left out."""
        present = {kind: server for kind, server in self._servers.items() if kind != OPTIONAL or self._has_optional()}
        return tuple(server.status() for server in present.values())

    def targets(self) -> tuple[tuple[Target, dict[str, str]], ...]:
        """`postgres/local`, `redis/local`, `nats/local`, `caddy/local`, each with its credentials, for the kinds ever
        started.

        Read them after `start`: a port that somebody else has taken meanwhile is chosen anew.
        """
        return tuple(target for server in self._servers.values() if (target := server.target()) is not None)

    def _has_optional(self) -> bool:
        return find_program() is not None or (self._directory / OPTIONAL).exists()

    def _chosen(self, kinds: tuple[str, ...]) -> list[Server]:
        for kind in kinds:
            if kind not in self._servers:
                raise Invalid(
                    f"There is no local server {kind!r}.", field="kind", mend=f"Known are: {', '.join(self._servers)}."
                )
        return [self._servers[kind] for kind in kinds or self._servers]

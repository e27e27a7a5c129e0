"""What the tests of the Caddy provider see of the server without asking the provider, and upstreams of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from providers.local import LocalServers
from twin.domain.targets import Target
from twin.ports.provider import Applied


def local_caddy(servers: LocalServers) -> Target:
    """The local server, running. Without a Caddy it fails and says how to get one: nothing is skipped."""
    servers.start("caddy")
    return next(target for target, _ in servers.targets() if target.provider == "caddy")


class Upstream(ThreadingHTTPServer):
    """An app that says its name, and remembers what it was sent."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.status = 200
        self.more: dict[str, str] = {}
        self.seen: list[dict[str, str]] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.asked.append(f"{self.command} {self.path} {body}".rstrip())
        self.server.seen.append(dict(self.headers.items()))
        said = self.server.name.encode() if self.server.status != httpx.codes.NO_CONTENT else b""
        self.send_response(self.server.status)
        for name, value in self.server.more.items():
            self.send_header(name, value)
        if said:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base's name
        """Nowhere."""


@contextmanager
def upstream(name: str) -> Iterator[Upstream]:
    """One that runs."""
    server = Upstream(name)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def admin(target: Target) -> httpx.Client:
    """The admin API by hand."""
    socket = target.config["admin"].removeprefix("unix/")
    return httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://localhost", timeout=30)


def routes_path(target: Target) -> str:
    """Where the routes stand in its config."""
    return f"/config/apps/http/servers/{target.config['server']}/routes"


async def get(target: Target, host: str, path: str = "/", **more: Any) -> httpx.Response:
    """Ask as a browser would that had looked up the host; on a connection of its own."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        url = f"http://127.0.0.1:{target.config['port']}{path}"
        return await client.get(url, headers={"Host": host}, **more)


def login(applied: Applied) -> tuple[str, str]:
    """Of basic access."""
    return applied.outputs["user"], applied.secrets["password"]

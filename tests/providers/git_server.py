"""Repositories over HTTP by git's own `http-backend`, and the ways in which such a server can be a bad one."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

PIECE = 16 * 1024


class Asked(Struct, frozen=True):
    """One request."""

    path: str
    authorization: str | None


class GitServer:
    """Serves the repositories below `root` on loopback. `password`: of anybody, if one is needed. `elsewhere`: where it
    redirects everything to. `silent`: it takes requests and does not answer. `sent`: bytes of bodies so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.password: str | None = None
        self.elsewhere: str | None = None
        self.silent = False
        self.asked: list[Asked] = []
        self.sent = 0
        self.on_ask: Callable[[], object] = lambda: None
        self.over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def given(self) -> set[str]:
        """The users and passwords that came."""
        told = [each.authorization for each in self.asked if each.authorization is not None]
        return {base64.b64decode(each.removeprefix("Basic ")).decode() for each in told}

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def git_server(root: Path) -> Iterator[GitServer]:
    server = GitServer(root)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def backend_environment(
    root: Path, method: str, target: str, header: Callable[[str, str], str], length: int
) -> dict[str, str]:
    """What `git http-backend` is told of a request; `length` of its body. Any commit may be asked for by its id."""
    parts = urlsplit(target)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
        "GIT_CONFIG_VALUE_1": "true",
        "GIT_PROTOCOL": header("git-protocol", ""),
        "HTTP_CONTENT_ENCODING": header("content-encoding", ""),
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": header("content-type", ""),
        "CONTENT_LENGTH": str(length),
        "REMOTE_ADDR": "127.0.0.1",
    }


def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
            """Nothing."""

        def _answer(self) -> None:
            authorization = self.headers.get("Authorization")
            server.asked.append(Asked(self.path, authorization))
            server.on_ask()
            if server.silent:
                server.over.wait()
            elif server.elsewhere is not None:
                self._say(302, Location=server.elsewhere + self.path)
            elif server.password is not None and not self._is_right(authorization):
                self._say(401, **{"WWW-Authenticate": 'Basic realm="git"'})
            else:
                self._backend()

        def _is_right(self, authorization: str | None) -> bool:
            told = base64.b64decode((authorization or "").removeprefix("Basic ")).decode()
            return told.partition(":")[2] == server.password

        def _say(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _backend(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            env = backend_environment(server.root, self.command, self.path, self.headers.get, len(body))
            with subprocess.Popen(
                ["git", "http-backend"],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as backend:
                assert backend.stdin is not None
                assert backend.stdout is not None
                backend.stdin.write(body)
                backend.stdin.close()
                status, headers = 200, []
                while line := backend.stdout.readline().strip():
                    name, _, value = line.decode().partition(": ")
                    if name == "Status":
                        status = int(value.split()[0])
                    else:
                        headers.append((name, value))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                try:
                    while piece := backend.stdout.read(PIECE):
                        self.wfile.write(piece)
                        server.sent += len(piece)
                except (BrokenPipeError, ConnectionResetError):
                    backend.kill()

    return Handler

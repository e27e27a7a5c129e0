"""Caddy, if the machine has it: no wheel carries one, so `make tools` builds it, or it is on PATH.

The admin API is a Unix socket in a private directory: no other user of the machine and no page in a browser reaches it.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import httpx
import msgspec

from providers.local.account import Account
from providers.local.files import State, private_directory, write_private
from providers.local.ports import HOST
from providers.local.processes import GIVEN, clean_environment
from providers.local.server import NotAnswering
from twin.domain.errors import Unavailable
from twin.domain.targets import Target

SERVER = "twin"
"""The name of the one HTTP server in its config."""

LISTEN = [f"fd/{GIVEN}"]
"""A socket of its own Caddy would open anew with each change of its configuration, and on Linux turn away those who
wait at the old one to be accepted. One that it is given stays (`ports.listening`)."""

LONGEST_SOCKET = 103
"""Bytes that the path of a Unix socket may have, on macOS; Linux takes four more."""


class CaddyServer:
    """The `Software` of `caddy/local`."""

    kind = "caddy"
    stop_signal = signal.SIGTERM
    account: Account | None = None
    inherits = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "data"
        self._config = directory / "caddy.json"
        self._environment = directory / "caddy.env"
        self._socket = directory / "admin.sock"

    @property
    def argv(self) -> tuple[str, ...]:
        """caddy with our config file, and with what has it keep all of its files in our directory."""
        program = find_program() or "caddy"  # who stops it need not have it any more
        return (program, "run", "--config", str(self._config), "--envfile", str(self._environment))

    def prepare(self, state: State, port: int) -> None:
        """Config: what it had last, routes above all, with today's port."""
        if find_program() is None:
            raise Unavailable("There is no Caddy on this machine.", mend="make tools")
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET:
            raise Unavailable(
                f"{self._socket} is longer than the path of a Unix socket may be.",
                mend="Set TWIN_DATA_DIR to a shorter path.",
            )
        private_directory(self.home)
        write_private(self._environment, f"XDG_CONFIG_HOME={self.home}\nXDG_DATA_HOME={self.home}\n")
        write_private(self._config, msgspec.json.encode(self._configured(port)).decode())
        self._socket.unlink(missing_ok=True)  # of a killed one

    def finish(self, port: int) -> None:
        """Nothing."""

    def check(self, state: State, port: int) -> str:
        """Ask by the socket whether the server listens where it should, and at its port whether that is a Caddy."""
        try:
            if _asked(self._socket, f"/id/{_server_id(port)}/listen") != LISTEN:
                raise NotAnswering(f"its server was not given port {port}")
            with httpx.Client(trust_env=False, timeout=5) as client:
                public = client.get(f"http://{HOST}:{port}/")
            if public.headers.get("Server") != "Caddy":
                raise NotAnswering(f"port {port} is of another server")
        except (httpx.HTTPError, HTTPException, ValueError, OSError) as error:
            raise NotAnswering(str(error) or type(error).__name__) from None
        return _version(find_program()) or state.version

    def target(self, port: int) -> tuple[Target, dict[str, str]]:
        """`caddy/local`, for names below `localhost`, which lead to this machine everywhere."""
        config: dict[str, Any] = {"admin": f"unix/{self._socket}", "server": SERVER, "port": port}
        return Target(name="caddy/local", provider="caddy", config=config), {}

    def _configured(self, port: int) -> Mapping[str, Any]:
        try:
            kept = msgspec.json.decode((self.home / "caddy" / "autosave.json").read_bytes(), type=dict[str, Any])
            routes = kept["apps"]["http"]["servers"][SERVER].get("routes") or []
        except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            routes = []  # none yet: what is missing of ours is drift, and comes back
        server = {
            "@id": _server_id(port),
            "listen": LISTEN,
            "protocols": ["h1"],
            "routes": routes,
            "automatic_https": {"disable": True},
        }
        return {
            "admin": {"listen": f"unix/{self._socket}|0600"},
            "apps": {"http": {"servers": {SERVER: server}, "grace_period": "10s"}},
        }


def _server_id(port: int) -> str:
    """By which its server is found, and the port that it was given is told."""
    return f"{SERVER}-{port}"


def find_program() -> str | None:
    """The Caddy of `make tools`, or that on PATH."""
    places = [str(Path(__file__).parents[2] / ".tools"), ".tools", os.environ.get("PATH", "")]
    found = shutil.which("caddy", path=os.pathsep.join(places))
    return os.path.abspath(found) if found else None


def _asked(path: Path, what: str) -> Any:
    """What the admin API answers. (httpx leaves a socket open where nobody listens.)"""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        client = HTTPConnection("localhost")
        client.sock = connection
        client.request("GET", what, headers={"Connection": "close"})
        with client.getresponse() as answer:
            return json.loads(answer.read())


@functools.cache
def _version(program: str | None) -> str:
    if program is None:
        return ""
    try:
        said = subprocess.run(  # noqa: S603 - the program that runs as our server
            [program, "version"], capture_output=True, text=True, timeout=20, check=False, env=clean_environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.split(" ")[0].strip().removeprefix("v")

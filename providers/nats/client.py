"""What the provider asks of a NATS server: reload, streams of an account, inventory.

Connections are made per call and given back at once: they cost a few milliseconds, and an idle target costs nothing.
Every method raises step failures only (see errors.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from nats.aio.client import Client as Connection
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from providers.nats import grace
from providers.nats.accounts import Account
from providers.nats.errors import ACCOUNT_REFUSED, HUNG_UP, REFUSED, SYSTEM_REFUSED, Outcome, translated
from providers.nats.spec import Config, Credentials, StreamInputs
from providers.nats.users import admin
from twin.domain.errors import Blocked, StepFailure, Transient
from twin.domain.targets import Target

CONNECT_TIMEOUT = 5
REQUEST_TIMEOUT = 5.0
PAUSES = (0.05, 0.1, 0.25)
"""Seconds before a refused login is tried again."""

PAGE = 128
"""Accounts per page of the inventory."""

COPYING = "twin.copying"
"""The key in a stream's metadata that says which attempt copies into it; gone when it is finished."""

COPIED = "twin.copied"
"""The key in a stream's metadata that says that it began as a copy: which, and what came of it."""

MARK = "twin.mark"
"""The key in a stream's metadata that says which environment owns it."""


def stream_config(name: str, mark: str, inputs: StreamInputs) -> StreamConfig:
    """The stream that `inputs` ask for."""
    return StreamConfig(
        name=name,
        subjects=list(inputs.subjects),
        retention=RetentionPolicy(inputs.retention),
        storage=StorageType(inputs.storage),
        discard=DiscardPolicy(inputs.discard),
        max_bytes=inputs.max_bytes,
        max_msgs=inputs.max_messages,
        max_age=float(inputs.max_age),
        metadata={MARK: mark},
    )


async def delete_streams(jetstream: JetStreamContext) -> None:
    """Delete all streams of an account and what they hold; none is success."""
    while streams := await jetstream.streams_info():
        for stream in streams:
            try:
                await jetstream.delete_stream(str(stream.config.name))
            except NotFoundError:
                continue  # another worker was faster


class NatsClient:
    """One server, as its system user and as the twin's own user in each account."""

    def __init__(
        self,
        target: Target,
        config: Config,
        credentials: Credentials,
        steady: Callable[[], AbstractAsyncContextManager[object]],
        alone: Callable[[], AbstractAsyncContextManager[object]],
    ) -> None:
        """Within `steady` nobody reloads; everything but a reload happens in it, or in `alone`, which nobody shares."""
        self._target = target
        self._steady = steady
        self._alone = alone
        self._config = config
        self._credentials = credentials

    @property
    def endpoint(self) -> str:
        """Host and port."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{host}:{self._config.port}"

    def admin_password(self, account: str) -> str:
        """The password of the twin's user in `account`: derived, so that one account's opens no other."""
        return hmac.new(self._credentials.admin_password.encode(), account.encode(), hashlib.sha256).hexdigest()

    async def name(self) -> str:
        """The server's configured name. Its id changes at every start and so identifies nothing; a server without a
        name reports its id for it, which is Blocked."""
        async with self._steady(), self._system() as connection:
            server = await self._server(connection)
        if server["name"] == server["id"]:
            key = f"{self._target.name}/server-name"
            raise Blocked(
                f"{self._target.name} has no server_name: after a restart nobody could tell it from another server.",
                key=key,
                mend=f"Set server_name in the server's configuration and restart it, then: twin blocks resolve {key}",
            )
        return str(server["name"])

    async def reload(self) -> None:
        """Have the server read its configuration again; returns when accounts and users are as configured.

        To be called while no one else works with the server (`AccountsFile.change`).
        """
        async with self._system() as connection:
            server = await self._server(connection)
            answer = await self._ask(connection, f"$SYS.REQ.SERVER.{server['id']}.RELOAD")
        if "error" in answer:  # its description quotes the configuration: it stays in the server's log
            key = f"{self._target.name}/reload"
            raise Blocked(
                f"{self._target.name} refuses to reload its configuration.",
                key=key,
                mend=f"Correct the configuration (the server's log names the line), then: twin blocks resolve {key}",
            )

    @asynccontextmanager
    async def around_reload(self, accounts: Mapping[str, Account]) -> AsyncIterator[Mapping[str, Account]]:
        """Around a reload: gives who is logging in the time for it; see grace.py. Yields what the file needs for that,
        given the accounts as the server knows them."""
        password = self.admin_password(grace.ACCOUNT)
        if not (self._config.reload_grace and grace.is_due(accounts)):
            yield {} if grace.ACCOUNT in accounts else grace.renewed(accounts, password)
            return
        host, port, milliseconds = self._config.host, self._config.port, self._config.reload_grace
        async with grace.crowded(host, port, accounts, password, milliseconds):
            yield grace.renewed(accounts, password)

    async def check_login(self, user: str, password: str) -> None:
        """Log in once, as an application would."""
        async with self._steady(), self._connection(user, password, ACCOUNT_REFUSED):
            pass

    async def check_refused(self, user: str, password: str) -> None:
        """See the server refuse a login. Raises Transient if it is taken."""
        async with self._steady():
            try:
                async with self._connection(user, password, _refused):
                    pass
            except _Refused:
                return
        raise Transient(f"{self._target.name} still takes a login that has ended.")

    async def ensure_stream(self, account: str, stream: StreamConfig) -> None:
        """Create the stream, or change it to this configuration; what it holds stays, as far as there is room."""
        async with self.jetstream(account) as jetstream:
            try:
                present = (await jetstream.stream_info(str(stream.name))).config.metadata or {}
                stream.metadata = {**{k: v for k, v in present.items() if k == COPIED}, **(stream.metadata or {})}
                await jetstream.update_stream(stream)
            except NotFoundError:
                await jetstream.add_stream(stream)

    async def delete_streams(self, account: str) -> None:
        """Delete all streams of the account and what they hold; none is success."""
        async with self.jetstream(account) as jetstream:
            await delete_streams(jetstream)

    async def streams(self, account: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Account and configuration, as the server itself lists them, of all streams or of those of one account."""
        found: list[tuple[str, dict[str, Any]]] = []
        async with self._steady(), self._system() as connection:
            server = await self._server(connection)
            offset, total = 0, 1
            while offset < total:
                query: dict[str, Any] = {
                    "accounts": True,
                    "streams": True,
                    "config": True,
                    "offset": offset,
                    "limit": PAGE,
                }
                if account is not None:
                    query["account"] = account
                page = (await self._ask(connection, f"$SYS.REQ.SERVER.{server['id']}.JSZ", query))["data"]
                for detail in page.get("account_details", ()):
                    if account in (None, detail["name"]):  # asked for an unknown account, the server lists all
                        found += [(detail["name"], stream["config"]) for stream in detail.get("stream_detail", ())]
                offset, total = offset + PAGE, 0 if account is not None else page["total"]
        return found

    async def _server(self, connection: Connection) -> dict[str, Any]:
        """What the server says of itself."""
        server: dict[str, Any] = (await self._ask(connection, "$SYS.REQ.SERVER.PING"))["server"]
        if not server.get("jetstream"):
            key = f"{self._target.name}/jetstream"
            raise Blocked(
                f"{self._target.name} has JetStream disabled.",
                key=key,
                mend=f"Add a jetstream block to the server's configuration, then: twin blocks resolve {key}",
            )
        return server

    async def _ask(self, connection: Connection, subject: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        message = await connection.request(subject, json.dumps(query).encode() if query else b"", REQUEST_TIMEOUT)
        answer: dict[str, Any] = json.loads(message.data)
        return answer

    def _system(self) -> AbstractAsyncContextManager[Connection]:
        """As the system user, who sees the server and no account's messages."""
        return self._connection(self._credentials.system_user, self._credentials.system_password, SYSTEM_REFUSED)

    @asynccontextmanager
    async def inside(self, account: str, *, alone: bool = False) -> AsyncIterator[Connection]:
        """As the twin's user in `account`, for a moment: as long as it is open nobody can reload; `alone`, nobody can
        do anything else either."""
        async with (
            self._alone() if alone else self._steady(),
            self._connection(admin(account), self.admin_password(account), ACCOUNT_REFUSED) as connection,
        ):
            yield connection

    @asynccontextmanager
    async def jetstream(self, account: str) -> AsyncIterator[JetStreamContext]:
        """JetStream there."""
        async with self.inside(account) as connection:
            yield connection.jetstream(timeout=REQUEST_TIMEOUT)

    @asynccontextmanager
    async def _connection(self, user: str, password: str, refused: Outcome) -> AsyncIterator[Connection]:
        """A connection for one use; `refused` is what it means if the server does not know this user."""
        with translated(self._target, refused), _cancellation_kept():
            connection = await self._connect(user, password)
            try:
                yield connection
            finally:
                await _close(connection)

    async def _connect(self, user: str, password: str) -> Connection:
        """Log in; a refusal counts when it is repeated, for a server that reloads at this moment throws out whoever
        has connected and not yet said who he is."""
        for pause in (*PAUSES, None):
            connection = Connection()
            try:
                with _cancellation_kept():
                    await connection.connect(
                        f"nats://{self.endpoint}",
                        user=user,
                        password=password,
                        name="twin",
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=CONNECT_TIMEOUT,
                        error_cb=_raised_anyway,
                    )
                return connection
            except BaseException as error:
                await _close(connection)
                if pause is None or not (REFUSED.fits(error) or isinstance(error, HUNG_UP)):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")


class _Refused(StepFailure):
    """The server has refused a login, as it should."""


def _refused(target: Target, cause: str) -> StepFailure:
    return _Refused(f"{target.name} refuses the login ({cause}).")


@contextmanager
def _cancellation_kept() -> Iterator[None]:
    """Raise at the end what was swallowed within: nats-py, and `wait_for` before Python 3.12, lose a cancellation that
    arrives at the wrong moment, and a step that is no longer wanted would go on."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


async def _close(connection: Connection) -> None:
    """Close wholly, also when cancelled meanwhile, so that no socket is left open."""
    closing = asyncio.ensure_future(connection.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait([closing], timeout=CONNECT_TIMEOUT)
        raise


async def _raised_anyway(error: Exception) -> None:
    """nats-py prints errors unless it is given a callback; the calls raise them too."""

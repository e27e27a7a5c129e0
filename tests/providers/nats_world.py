"""What the tests of the NATS provider have in common: the local server, clients, and what a suite is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import msgspec
import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from providers.local import LocalServers
from providers.nats import KIND
from providers.nats.provider import NatsProvider
from providers.nats.users import admin
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied
from twin.testing.conformance.provider_hooks import ProviderHooks
from twin.testing.steps import make_ref, make_step

MINTED = {"password": "a-minted-password-of-some-length"}
INPUTS = {"subjects": ["work.>"], "max_bytes": 1 << 20}
TIMEOUT = 5

UNSETTLED = (
    nats.errors.NoRespondersError,
    nats.errors.ConnectionClosedError,
    ServiceUnavailableError,
    NoStreamResponseError,
)
"""What a client meets while the server reloads: a connection closed, an account whose JetStream is not there yet."""


def local_target(servers: LocalServers, **config: Any) -> tuple[Target, dict[str, str]]:
    """The local target and its credentials, its server running. Without grace at reloads, which is a test's own story
    and would slow all others down."""
    servers.start("nats")
    target, secrets = next(each for each in servers.targets() if each[0].provider == "nats")
    return msgspec.structs.replace(target, config=target.config | {"reload_grace": 0} | config), secrets


async def nobody_listens(error: Exception) -> None:
    """The tests look at what calls raise and not at what nats-py reports besides."""


@asynccontextmanager
async def login(secrets: Mapping[str, str], **options: Any) -> AsyncIterator[Client]:
    """A connection by a URL and nothing else.

    nats-py takes a password from the URL as it stands, where other clients decode it; what the twin mints needs no
    encoding, a nasty one does.
    """
    given, url = secrets["url"], urlsplit(secrets["url"])
    if "%" in given:
        options |= {"user": url.username, "password": unquote(url.password or "")}
        given = f"nats://{url.hostname}:{url.port}"
    connection = Client()
    try:
        await connection.connect(given, **{"allow_reconnect": False, "error_cb": nobody_listens} | options)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def client(applied: Applied, **options: Any) -> AsyncIterator[Client]:
    """An application's connection."""
    url = urlsplit(applied.secrets["url"])
    assert (unquote(url.username or ""), unquote(url.password or "")) == (
        applied.outputs["user"],
        applied.secrets["password"],
    )
    async with login(applied.secrets, **options) as connection:
        yield connection


@asynccontextmanager
async def persistent(applied: Applied) -> AsyncIterator[Client]:
    """An application's connection as every client of NATS makes it: a reload may close a connection that is being
    opened, and says nothing of authorization, so it is opened again. Once open, it does not reconnect.

    Open it is with its second answer. A reload closes who has sent his name and is not in his account yet, as it does
    while the server checks the password; the first answer, to that check, may still come.
    """
    async with AsyncExitStack() as stack, asyncio.timeout(TIMEOUT) as opening:
        while True:
            closed = asyncio.Event()

            async def on_closed(closed: asyncio.Event = closed) -> None:
                closed.set()

            with suppress(OSError, nats.errors.UnexpectedEOF, nats.errors.ConnectionClosedError):
                connection = await stack.enter_async_context(client(applied, closed_cb=on_closed))
                await answered(connection, closed)
                break
        opening.reschedule(None)
        yield connection


async def answered(connection: Client, closed: asyncio.Event) -> None:
    """One answer over the connection. Raises ConnectionClosedError once it is closed, for which nats-py's own `flush`
    waits in vain."""
    asking, ending = asyncio.ensure_future(connection.flush(TIMEOUT)), asyncio.ensure_future(closed.wait())
    await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not asking.done():
        asking.cancel()
        raise nats.errors.ConnectionClosedError
    await asking


@asynccontextmanager
async def administrator(provider: NatsProvider, applied: Applied) -> AsyncIterator[Client]:
    """The twin's own user in a component's account."""
    account = applied.outputs["account"]
    password = provider._client.admin_password(account)
    connection = await nats.connect(
        f"nats://{applied.outputs['host']}:{applied.outputs['port']}", user=admin(account), password=password
    )
    try:
        yield connection
    finally:
        await connection.close()


async def apply(provider: NatsProvider, ref: ComponentRef, **inputs: Any) -> Applied:
    """A stream that takes `work.>`."""
    return await provider.apply(ref, make_step(INPUTS | inputs, MINTED))


@asynccontextmanager
async def components(provider: NatsProvider, *names: str) -> AsyncIterator[list[ComponentRef]]:
    """Fresh components of different environments."""
    refs = [make_ref(name, type="nats.stream") for name in names]
    try:
        yield refs
    finally:
        for ref in refs:
            await provider.remove(ref, make_step())


class Denied:
    """Hears what the server refuses on a connection, which NATS tells apart from the call."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()

    async def on_error(self, error: Exception) -> None:
        """The connection's `error_cb`."""
        if "permissions violation" in str(error).lower():
            self._heard.set()

    async def unless(self, call: Any) -> Any:
        """The call's result; PermissionError if the server refuses it."""
        self._heard.clear()
        calling, refused = asyncio.ensure_future(call), asyncio.ensure_future(self._heard.wait())
        try:
            await asyncio.wait([calling, refused], return_when=asyncio.FIRST_COMPLETED)
            if refused.done() and not calling.done():
                raise PermissionError("the server reports a permissions violation")
            return calling.result()
        finally:
            for each in (calling, refused):
                each.cancel()
            await asyncio.gather(calling, refused, return_exceptions=True)


class NatsHooks(ProviderHooks):
    """What every suite of `nats.stream` is told."""

    component_type = KIND.types[0]

    reload_grace: ClassVar[int] = 0

    @pytest.fixture
    async def provider(self, local_servers: LocalServers) -> AsyncIterator[NatsProvider]:
        """A provider for the local server."""
        self.target, self.credentials = local_target(local_servers, reload_grace=self.reload_grace)
        self.opened = KIND.open(self.target, self.credentials)
        yield self.opened
        await self.opened.close()

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"subjects": ["work.>"], "max_bytes": (1 + n) << 20, "max_messages": 1000 + n, "max_age": 60 * n}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        """A step cut short may have left a reload under way: until that is over, JetStream may be silent."""
        async with asyncio.timeout(2 * TIMEOUT):
            while True:
                with suppress(*UNSETTLED):
                    return await self._use(applied)

    async def _use(self, applied: Applied) -> None:
        async with persistent(applied) as connection:
            jetstream = connection.jetstream()
            ack = await jetstream.publish("work.try", b"hello")
            assert ack.stream == applied.outputs["stream"]
            message = await jetstream.get_msg(ack.stream, ack.seq)
            assert message.data == b"hello"
            await jetstream.delete_msg(ack.stream, ack.seq)

    async def put(self, applied: Applied, value: str) -> None:
        async with persistent(applied) as connection:
            await connection.jetstream().publish("work.kept", value.encode())

    async def get(self, applied: Applied) -> str | None:
        async with persistent(applied) as connection:
            return await last(connection, applied.outputs["stream"])


async def last(connection: Client, stream: str) -> str | None:
    """What was put last into a stream of the connection's account."""
    try:
        message = await connection.jetstream().get_last_msg(stream, "work.kept")
    except APIError:
        return None
    return (message.data or b"").decode()


class NatsSession:
    """A member's connection."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._denied, self._closed = Denied(), asyncio.Event()
        self.connection = Client()

    async def open(self, secrets: Mapping[str, str]) -> NatsSession:
        """Log in. Raises PermissionError if the server refuses."""
        try:
            await self.connection.connect(
                secrets["url"], allow_reconnect=False, error_cb=self._denied.on_error, closed_cb=self._on_close
            )
        except nats.errors.Error as error:
            await self.connection.close()
            if "authorization violation" in str(error).lower():
                raise PermissionError(str(error)) from error
            raise
        return self

    async def _on_close(self) -> None:
        self._closed.set()

    async def read(self) -> str | None:
        return await last(self.connection, self._stream)

    async def write(self, value: str) -> None:
        await self._denied.unless(self.connection.jetstream().publish("work.kept", value.encode()))

    async def refused(self, call: Any) -> None:
        """See the server refuse it."""
        with pytest.raises(PermissionError):
            await self._denied.unless(call)

    async def ended(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self._closed.wait()

    async def close(self) -> None:
        with suppress(nats.errors.Error):
            await self.connection.close()

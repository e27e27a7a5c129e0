"""A small HTTP server on the loopback, for tests that need one which misbehaves: real sockets, one function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, field

HOST = "127.0.0.1"

_ROUNDS = 10
"""Of the event loop, from a connection to the task that serves it: it takes fewer."""


class Call(Struct, frozen=True, kw_only=True):
    """What a client sent. `headers` by their names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Without the query; escapes as they were sent."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


class Answer(Struct, frozen=True, kw_only=True):
    """What it gets. `cut`: the connection breaks in the middle of the body. `silent`: nothing comes, ever."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    silent: bool = False


Handler = Callable[[Call], Awaitable[Answer]]


class Loopback:
    """Answers each call by `handle`; one call per connection. An error of `handle` is raised at the end."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._calls: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Loopback:
        self._server = await asyncio.start_server(self._connected, HOST, 0)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for _ in range(_ROUNDS):  # who was let in before that begins, so as to be ended
            await asyncio.sleep(0)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the next round
        await self._server.wait_closed()
        if error is None and self._errors:
            raise self._errors[0]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            await self._answer(await _read(reader), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except asyncio.CancelledError:
                writer.transport.abort()
            except OSError:
                pass
            self._calls.discard(task)

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> None:
        answer = await self._handle(call)
        if answer.silent:
            await asyncio.Event().wait()
        headers = answer.headers | {"content-length": str(len(answer.body)), "connection": "close"}
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = answer.body[: len(answer.body) // 2] if answer.cut else answer.body
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if answer.status in (204, 304) else body))
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    pairs = (line.split(":", 1) for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(method=method, target=target, headers=headers, body=body)

"""A client that costs little, so that the server is measured and not it: HTTP/1.1 over kept connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from types import TracebackType


class Pool:
    """As many connections as are needed at once."""

    def __init__(self, host: str, port: int, *, headers: dict[str, str] | None = None) -> None:
        self._host, self._port = host, port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, writer in self._idle:
            writer.close()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        return await self._ask(f"GET {path}", b"", {})

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body. `headers`: of this request alone."""
        return await self._ask(f"POST {path}", body, headers or {})

    async def _ask(self, line: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        reader, writer = await self._connection()
        about = f"Content-Length: {len(body)}\r\n" if body else ""
        if body and "Content-Type" not in headers:
            about += "Content-Type: application/json\r\n"
        about += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"{line} HTTP/1.1\r\nHost: {self._host}\r\n{self._headers}{about}\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            answer = b""
            while size := int(await reader.readline(), 16):
                answer += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
            answer = await reader.readexactly(length)
        self._idle.append((reader, writer))
        return status, answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that is idle, unless the server has closed it meanwhile; else a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, limit=2**20)

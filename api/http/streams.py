"""Answers without a known end: server-sent events and lines, ended when the client leaves or the service stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import anyio
from litestar.response import Stream

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
IDLE = 15.0
"""Seconds of silence after which a comment keeps the connection alive."""

KEEP_ALIVE = b": keep-alive\n\n"

PROGRESS = "progress"
"""The name of server-sent events that are no events of the history."""

T = TypeVar("T")
_END: Any = object()


class Stopping:
    """Known to all that waits on behalf of a client. Whoever stops the service calls `stop` first; waits and streams
    then end by themselves, and the server need not cut them off."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End all streams and waits, now and from now on."""
        self._stopped.set()

    async def or_stopped(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """The result, or None if the service stops before it is there."""
        task = asyncio.create_task(waiting)
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await _end(task, stopped)

    async def each(self, source: AsyncIterator[T], idle: float = IDLE) -> AsyncIterator[T | None]:
        """Each item, and None after every `idle` seconds without one, until the source or the service ends."""
        stopped = asyncio.create_task(self._stopped.wait())
        coming: asyncio.Task[T] | None = None
        try:
            while True:
                if coming is None:
                    coming = asyncio.create_task(_next(source))
                done, _ = await asyncio.wait({coming, stopped}, timeout=idle, return_when=asyncio.FIRST_COMPLETED)
                if stopped in done:
                    return
                if coming not in done:
                    yield None
                    continue
                item, coming = coming.result(), None
                if item is _END:
                    return
                yield item
        finally:
            await _end(stopped, *([coming] if coming is not None else []))
            if (close := getattr(source, "aclose", None)) is not None:
                with anyio.CancelScope(shield=True):
                    await close()


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source, _END)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.gather(*tasks, return_exceptions=True)


def server_sent(data: bytes, id_: str | None = None, *, name: str | None = None) -> bytes:
    """One event. `data` is JSON on one line."""
    named = (f"event: {name}\n" if name is not None else "") + (f"id: {id_}\n" if id_ is not None else "")
    return named.encode() + b"data: " + data + b"\n\n"


def stream(chunks: AsyncIterator[bytes], media_type: str) -> Stream:
    """The chunks as they come; proxies are asked not to collect them."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(chunks, media_type=media_type, headers=headers)

"""Copying a stream: its messages are read by number and published again, in order, into a stream that nobody can enter.

Reading by number disturbs nobody: no consumer is made, so the source's own consumers, and what a work queue still owes
them, stay as they are. The source's last number at the beginning is the end of the copy. Numbers and times are new in
the copy; subjects, headers and data are the source's.

Whoever copies begins, alone, with a stream of his own, which a token in its metadata tells from every other, and looks
for that token before each batch: a worker that was given up can change nothing any more, neither what its successor
copies nor, later, what the application writes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg
from nats.errors import BadHeaderError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RetentionPolicy, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from providers.nats.client import COPIED, COPYING, delete_streams
from providers.nats.headers import headers_of
from providers.nats.spec import takes
from twin.domain.errors import Terminal, Transient
from twin.ports.provider import Seeded

MESSAGES_AT_ONCE = 500
BYTES_AT_ONCE = 4 << 20
"""What is read, and then published, before others get the lock; a larger message goes alone."""

ABREAST = 32
"""Numbers that are asked for without waiting: at the usual `max_payload` their answers fit what a server holds back for
a slow client (`max_pending`)."""

PATIENCE = 10
"""Seconds for the next acknowledgement."""

NO_MESSAGE = 10037


class Session(Protocol):
    """A connection as the twin in one account, for a moment: as long as it is open nobody can change an account, and,
    if `alone`, nobody else has one."""

    def __call__(self, *, alone: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Open it."""
        ...


async def finished(here: Session, stream: str) -> Seeded | None:
    """The finished copy, if it is there."""
    async with here() as connection:
        return _done(await _info(connection, stream))


class Copy:
    """One attempt at a copy of the stream `source` of the account `there` into that of `config` in the account `here`.

    `unopened` raises Transient if anybody but the twin can enter there.
    """

    def __init__(
        self,
        *,
        there: Session,
        source: str,
        here: Session,
        config: StreamConfig,
        unopened: Callable[[], object],
        heartbeat: Callable[[str], Awaitable[None]],
    ) -> None:
        self._there = there
        self._source = source
        self._here = here
        self._config = config
        self._stream = str(config.name)
        self._marks = dict(config.metadata or {})
        self._unopened = unopened
        self._heartbeat = heartbeat
        self._token = secrets.token_hex(16)
        self._messages = self._bytes = 0

    async def run(self) -> Seeded:
        """Copy, or find that it is done. What an attempt before this one left is removed. Raises Terminal if the source
        is gone, or holds what the copy cannot take."""
        async with self._there() as connection:
            info = await _info(connection, self._source)
        if info is None:
            raise Terminal(
                f"the stream {self._source} is gone, so it cannot be copied",
                mend="Destroy this clone; clone what there is, or create an environment that begins empty.",
            )
        if (done := await self._begin()) is not None:
            return done
        # What an interest stream holds, it holds for its consumers, and these are not copied.
        if self._config.retention is not RetentionPolicy.INTEREST:
            async for batch in self._batches(max(1, info.state.first_seq), info.state.last_seq):
                await self._write(batch)
                total = max(self._messages, info.state.messages)
                await self._heartbeat(f"copied {self._messages:,} of {total:,} messages, {self._bytes:,} bytes")
        seeded = Seeded(rows=self._messages, bytes=self._bytes, point=f"{self._source}@{info.state.last_seq}")
        await self._finish(seeded)
        return seeded

    async def _begin(self) -> Seeded | None:
        """A stream of this attempt's own, unless there is a finished one."""
        async with self._here(alone=True) as connection:
            self._unopened()
            if (done := _done(await _info(connection, self._stream))) is not None:
                return done
            await delete_streams(connection.jetstream())
            self._config.metadata = self._marks | {COPYING: self._token}
            await connection.jetstream().add_stream(self._config)
        return None

    async def _finish(self, seeded: Seeded) -> None:
        async with self._here() as connection:
            await self._ensure_ours(connection)
            self._config.metadata = self._marks | {COPIED: msgspec.json.encode(seeded).decode()}
            try:
                await connection.jetstream().update_stream(self._config)
            except NotFoundError:
                raise _given_up(self._stream) from None

    async def _ensure_ours(self, connection: Connection) -> None:
        info = await _info(connection, self._stream)
        if info is None or (info.config.metadata or {}).get(COPYING) != self._token:
            raise _given_up(self._stream)

    async def _batches(self, number: int, last: int) -> AsyncIterator[list[RawStreamMsg]]:
        """The messages from `number` to `last`, in order; what is gone meanwhile is passed over."""
        width = ABREAST
        while number <= last:
            batch: list[RawStreamMsg] = []
            size = 0
            async with self._there() as connection:
                jetstream = connection.jetstream()
                while number <= last and len(batch) < MESSAGES_AT_ONCE and size < BYTES_AT_ONCE:
                    numbers = range(number, min(number + width, last + 1))
                    asked = await asyncio.gather(*(_get(jetstream, self._source, each) for each in numbers))
                    found = [each for each in asked if each]
                    number = numbers.stop
                    if not found:  # a gap, perhaps of millions
                        number = await _next(jetstream, self._source, number) or last + 1
                    width = min(2 * width, ABREAST) if len(found) == len(asked) else max(width // 2, 1)
                    batch += found
                    size += sum(_size(each) for each in found)
            if batch:
                yield batch

    async def _write(self, batch: list[RawStreamMsg]) -> None:
        """Publish in order on one connection; each is acknowledged before this returns.

        Here and not by `publish_async`, which loses the refusals of a stream.
        """
        async with self._here() as connection:
            await self._ensure_ours(connection)
            inbox = connection.new_inbox()
            answers = await connection.subscribe(f"{inbox}.*")
            for number, each in enumerate(batch):
                try:
                    headers = headers_of(each)
                    await connection.publish(str(each.subject), each.data or b"", f"{inbox}.{number}", headers)
                except (BadHeaderError, UnicodeDecodeError):
                    raise Terminal(
                        f"message {each.seq} of {self._source} has headers that are no text, and cannot be copied",
                        mend="Remove that message from the source, then retry; or clone with data: none.",
                    ) from None
            for _ in batch:
                answer = await answers.next_msg(PATIENCE)
                each = batch[int(answer.subject.rpartition(".")[2])]
                self._ensure_taken(str(each.subject), answer)
                self._messages += 1
                self._bytes += _size(each)

    def _ensure_taken(self, subject: str, answer: Msg) -> None:
        if answer.data:
            refused = msgspec.json.decode(answer.data).get("error")
            if refused is not None:
                APIError.from_error(refused)  # raises
            return
        if takes(self._config.subjects or (), subject):  # nobody answers for want of the stream
            raise _given_up(self._stream)
        raise Terminal(
            f"the source holds messages on {subject}, and the copy's subjects do not take it",
            field="subjects",
            mend="Clone with inputs whose subjects take all that the source holds, or with data: none.",
        )


def _size(message: RawStreamMsg) -> int:
    return len(message.data or b"")


def _given_up(stream: str) -> Transient:
    return Transient(f"another attempt to copy into {stream} has begun, or it was removed")


def _done(info: StreamInfo | None) -> Seeded | None:
    """What the mark of a finished copy says."""
    mark = (info.config.metadata or {}).get(COPIED) if info else None
    return msgspec.json.decode(mark, type=Seeded) if mark else None


async def _info(connection: Connection, stream: str) -> StreamInfo | None:
    try:
        return await connection.jetstream().stream_info(stream)
    except NotFoundError:
        return None


async def _get(jetstream: JetStreamContext, stream: str, number: int) -> RawStreamMsg | None:
    try:
        return await jetstream.get_msg(stream, number)
    except APIError as error:
        if error.err_code == NO_MESSAGE:
            return None
        raise


async def _next(jetstream: JetStreamContext, stream: str, number: int) -> int | None:
    """The first number from `number` on that has a message."""
    try:
        return (await jetstream.get_msg(stream, number, subject=">", next=True)).seq
    except APIError as error:
        if error.err_code == NO_MESSAGE:
            return None
        raise

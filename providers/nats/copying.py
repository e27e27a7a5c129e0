"""Copying a stream: its messages are read by number and published again, in order, into a stream that nobody can enter.

Reading by number disturbs nobody: no consumer is made, so the source's own consumers, and what a work queue still owes
them, stay as they are. The source's last number at the beginning is the end of the copy. Numbers and times are new in
the copy; subjects, headers and data are the source's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec
from msgspec import Struct
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from providers.nats.client import COPIED
from twin.domain.errors import Terminal, Transient
from twin.ports.provider import Seeded

WINDOW = 500
"""Numbers that are asked for at once."""

CONTROL = "nats-"
"""How headers begin that tell the server what to do with a message. They have done it: sent again they would, for
example, drop a message for one whose identifier it shares."""

NO_MESSAGE = 10037

Session = Callable[[], AbstractAsyncContextManager[JetStreamContext]]
"""JetStream as the twin in one account, for a moment: as long as it is open nobody can change an account."""


class Finished(Struct, frozen=True):
    """What the mark of a finished copy says."""

    key: str
    rows: int
    bytes: int
    point: str


class Stretch(Struct, frozen=True):
    """What is to be copied of a stream: the numbers `first` to `last`, at most `messages`."""

    first: int
    last: int
    messages: int


async def finished(here: Session, stream: str, key: str) -> Seeded | None:
    """The finished copy under that key, if it is there."""
    async with here() as jetstream:
        try:
            metadata = (await jetstream.stream_info(stream)).config.metadata or {}
        except NotFoundError:
            return None
    if COPIED not in metadata:
        return None
    found = msgspec.json.decode(metadata[COPIED], type=Finished)
    return Seeded(rows=found.rows, bytes=found.bytes, point=found.point) if found.key == key else None


async def copy(
    there: Session, source: str, here: Session, config: StreamConfig, key: str, beat: Callable[[str], Awaitable[None]]
) -> Seeded:
    """Make the stream of `config`, which must not be there, a copy of `source`, and mark it. Raises Terminal if the
    source is gone, or holds what the copy's subjects do not take."""
    stretch = await _stretch(there, source)
    point = f"{source}@{stretch.last}"
    async with here() as jetstream:
        await jetstream.add_stream(config)
    rows = size = 0
    # What an interest stream holds, it holds for its consumers, and these are not copied.
    if config.retention is not RetentionPolicy.INTEREST:
        async for batch in _batches(there, source, stretch):
            async with here() as jetstream:
                await _publish(jetstream, str(config.name), batch)
            rows += len(batch)
            size += sum(len(each.data or b"") for each in batch)
            await beat(f"copied {rows:,} of {max(rows, stretch.messages):,} messages, {size:,} bytes")
    done = msgspec.json.encode(Finished(key, rows, size, point)).decode()
    config.metadata = {**(config.metadata or {}), COPIED: done}
    async with here() as jetstream:
        await jetstream.update_stream(config)
    return Seeded(rows=rows, bytes=size, point=point)


async def _stretch(there: Session, source: str) -> Stretch:
    async with there() as jetstream:
        try:
            state = (await jetstream.stream_info(source)).state
        except NotFoundError:
            raise Terminal(
                f"the stream {source} is gone, so it cannot be copied",
                mend="Destroy this clone; clone what there is, or create an environment that begins empty.",
            ) from None
    return Stretch(state.first_seq, state.last_seq, state.messages)


async def _batches(there: Session, source: str, stretch: Stretch) -> AsyncIterator[list[RawStreamMsg]]:
    """The messages in order, a window at a time; what is gone meanwhile is passed over."""
    number = max(1, stretch.first)
    while number <= stretch.last:
        async with there() as jetstream:
            numbers = range(number, min(number + WINDOW, stretch.last + 1))
            found = [each for each in await asyncio.gather(*(_get(jetstream, source, n) for n in numbers)) if each]
            number = numbers[-1] + 1
            if not found:  # a gap, perhaps of millions
                number = await _next(jetstream, source, number, stretch.last)
        if found:
            yield found


async def _get(jetstream: JetStreamContext, source: str, number: int) -> RawStreamMsg | None:
    try:
        return await jetstream.get_msg(source, number)
    except (NotFoundError, APIError) as error:
        if error.err_code == NO_MESSAGE:
            return None
        raise


async def _next(jetstream: JetStreamContext, source: str, number: int, last: int) -> int:
    try:
        return int((await jetstream.get_msg(source, number, subject=">", next=True)).seq or last + 1)
    except (NotFoundError, APIError) as error:
        if error.err_code == NO_MESSAGE:
            return last + 1
        raise


async def _publish(jetstream: JetStreamContext, stream: str, batch: list[RawStreamMsg]) -> None:
    """In order on one connection; each is acknowledged before this returns."""
    answers = []
    for each in batch:
        headers = {name: str(value) for name, value in (each.headers or {}).items() if not _is_control(name)}
        answers.append(await jetstream.publish_async(str(each.subject), each.data or b"", headers=headers or None))
    for each, answer in zip(batch, answers, strict=True):
        try:
            async with asyncio.timeout(10):
                taken = await answer
        except TimeoutError:
            raise Transient(f"message {each.seq} of the copy was not acknowledged in time") from None
        except Exception as error:
            if "no responders" in str(error).lower() or type(error).__name__ == "NoStreamResponseError":
                raise Terminal(
                    f"the source holds messages on {each.subject}, and the copy's subjects do not take it",
                    field="subjects",
                    mend="Clone with inputs whose subjects take all that the source holds, or with data: none.",
                ) from None
            raise
        if taken.stream != stream:
            raise Transient(f"message {each.seq} of the copy went into {taken.stream} instead of {stream}")


def _is_control(name: str) -> bool:
    return name.lower().startswith(CONTROL)

"""Copying one keyspace into another, key by key, while the source serves on.

Redis has no snapshot to read from: SCAN gives every key that is there all the while, and each key is read whole, with
the time that it has left. What is written meanwhile may or may not be in the copy.

What is not finished has no user, so nobody can enter it. Whoever copies keeps a token of its own in one key per
component, and each write first looks whether it still stands there: a worker that was given up can change nothing any
more, neither what its successor copies nor, later, what the app writes.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from providers.redis.client import Command, Server, Session
from providers.redis.errors import code_of
from providers.redis.names import component_of
from twin.domain.errors import Terminal, Transient
from twin.ports.provider import Seeded

COPYING = "twin:copying:"
"""And the component's name: `Progress`, as JSON, from the first write to the component's removal."""

KEYS_AT_ONCE = 100
BYTES_AT_ONCE = 1024 * 1024
"""What is read, and written, between two turns of the server's other clients; a larger key goes alone."""


GUARDED = """
redis.call('SELECT', 0)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('GIVENUP another attempt has begun, or it was removed')
end
redis.call('SELECT', ARGV[2])
local answer = redis.pcall(unpack(ARGV, 3))
if type(answer) == 'table' and answer.err then
  return redis.error_reply((string.gsub(answer.err, '^@user_script: %d+: %-', '')))
end
return answer
"""
"""A command in a database, if the token in database 0 is as it was. A script and no transaction: see
`Session.transact`."""


class Progress(Struct, frozen=True, omit_defaults=True):
    """Who copies; `done` is the mark of completion."""

    token: str
    done: Seeded | None = None


class Entry(Struct, frozen=True):
    """One key as it was at one moment: `left` are the milliseconds that it has left, 0 for ever."""

    key: bytes
    payload: bytes
    left: int


class Copy:
    """One attempt at a copy of `origin` on the server `source`, into the empty `component` on the server `to`."""

    def __init__(
        self,
        *,
        source: Server,
        origin: str,
        to: Server,
        component: str,
        mark: str,
        heartbeat: Callable[[str], Awaitable[None]],
    ) -> None:
        self._source = source
        self._origin = f"{origin}:"
        self._to = to
        self._component = component
        self._prefix = f"{component}:"
        self._mark = mark
        self._heartbeat = heartbeat
        self._token = secrets.token_hex(16)
        self._ours = msgspec.json.encode(Progress(self._token))
        self._keys = self._bytes = 0

    async def run(self) -> Seeded:
        """Copy, or find that it is done. What an attempt before this one left is removed."""
        async with self._to.session() as to:
            if (done := await self._claim(to)) is not None:
                return done
            for database in await to.databases():
                async with self._to.session(database) as other:
                    async for batch in other.keys(self._prefix):
                        await self._write(to, database, [("UNLINK", *batch)] if batch else [])
                        await self._heartbeat("removing what is not finished")
            async with self._source.session() as source:
                first, databases = await source.position(), await source.databases()
            for database in databases:
                async with self._source.session(database) as source:
                    async for entries in self._read(source):
                        await self._restore(to, database, entries)
                        await self._heartbeat(f"{self._keys} keys copied, {self._bytes} bytes")
            async with self._source.session() as source:
                last = await source.position()
            return await self._finish(to, point=f"{first} to {last}")

    async def _claim(self, to: Session) -> Seeded | None:
        """Nobody but this attempt may write, unless it is done."""
        done: Seeded | None = None

        async def claim() -> list[Command]:
            nonlocal done
            progress = await self._progress(to)
            done = progress.done if progress else None
            if done is not None:
                return []
            if any(component_of(user) == self._component for user in await to.users()):
                raise Terminal(f"{self._component} is in use already, so nothing is copied over it")
            return [("SET", COPYING + self._component, self._ours)]

        await to.ensure_marked(self._component, self._mark)
        await to.transact(COPYING + self._component, claim)
        return done

    async def _read(self, source: Session) -> AsyncIterator[list[Entry]]:
        """The source's keys of one database, some at a time, each with its value and the time that it has left."""
        async for batch in source.keys(self._origin):
            sizes = await source.pipelined([("MEMORY", "USAGE", key) for key in batch])
            for keys, size in _portions(batch, sizes):
                commands: list[Command] = []
                for key in keys:
                    commands += [("MULTI",), ("DUMP", key), ("PTTL", key), ("EXEC",)]
                answers = (await source.pipelined(commands, size=size))[3::4]
                yield [entry for key, answer in zip(keys, answers, strict=True) if (entry := _entry(key, answer))]

    async def _restore(self, to: Session, database: int, entries: Sequence[Entry]) -> None:
        """Write them under the component's own prefix. SCAN may show a key twice; the first stays."""
        own, cut = self._prefix.encode(), len(self._origin)
        commands: list[Command] = [("RESTORE", own + each.key[cut:], each.left, each.payload) for each in entries]
        with self._to.translated():  # else it would pass for the source's failure
            replies = await self._write(to, database, commands, size=sum(len(each.payload) for each in entries))
        for entry, written in zip(entries, replies, strict=True):
            if written:
                self._keys += 1
                self._bytes += len(entry.payload)

    async def _write(self, to: Session, database: int, commands: list[Command], size: int = 0) -> list[bool]:
        """Run these in that database, each only while nobody else has claimed the copy; gives which were done: not
        RESTORE of a key that is there."""
        head: Command = ("EVAL", GUARDED, 1, COPYING + self._component, self._ours, database)
        written = []
        for reply in await to.pipelined([(*head, *each) for each in commands], size=size):
            code = code_of(reply) if isinstance(reply, Exception) else None
            if code == "GIVENUP":
                raise self._given_up()
            if isinstance(reply, Exception) and code != "BUSYKEY":
                raise reply
            written.append(code is None)
        return written

    async def _finish(self, to: Session, point: str) -> Seeded:
        done = Seeded(rows=self._keys, bytes=self._bytes, point=point)

        async def finish() -> list[Command]:
            if await to.command("GET", COPYING + self._component) != self._ours:
                raise self._given_up()
            return [("SET", COPYING + self._component, msgspec.json.encode(Progress(self._token, done)))]

        await to.transact(COPYING + self._component, finish)
        return done

    async def _progress(self, to: Session) -> Progress | None:
        found = await to.command("GET", COPYING + self._component)
        return msgspec.json.decode(found, type=Progress) if found else None

    def _given_up(self) -> Transient:
        return Transient(f"another attempt to copy {self._component} has begun, or it was removed")


def _portions(keys: Sequence[bytes], sizes: Sequence[Any]) -> list[tuple[list[bytes], int]]:
    """The keys in portions that are not too much at once, with the bytes that each may take."""
    portions: list[tuple[list[bytes], int]] = []
    portion: list[bytes] = []
    total = 0
    for key, answer in zip(keys, sizes, strict=True):
        size = answer if isinstance(answer, int) else 0  # gone meanwhile, or the server does not tell
        if portion and (len(portion) == KEYS_AT_ONCE or total + size > BYTES_AT_ONCE):
            portions.append((portion, total))
            portion, total = [], 0
        portion.append(key)
        total += size
    return [*portions, (portion, total)] if portion else portions


def _entry(key: bytes, answer: Any) -> Entry | None:
    """What the server told of a key; None if it is gone."""
    if isinstance(answer, Exception):
        raise answer
    payload, left = answer
    if payload is None or left == -2:
        return None
    return Entry(key, payload, 0 if left == -1 else max(1, left))

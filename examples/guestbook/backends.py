"""The guestbook's three backends. Each connects when it is needed and again after an outage, and can say how it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime

import nats
import nats.errors
import psycopg
from nats.aio.client import Client
from nats.js.api import ConsumerConfig
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis

log = logging.getLogger("guestbook.jobs")

PATIENCE = 2.0  # seconds that a backend gets to answer


@dataclass
class Entry:
    """One guest's words, and the greeting that the job wrote back."""

    id: int
    name: str
    message: str
    reply: str | None
    at: datetime


class Entries:
    """The guests' words, in PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._pool = AsyncConnectionPool(
            url, open=False, min_size=0, max_size=4, timeout=PATIENCE, check=AsyncConnectionPool.check_connection,
            kwargs={"connect_timeout": 2}, reconnect_timeout=5,
        )  # fmt: skip
        self._ready = False

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close(timeout=0.3)

    async def check(self) -> None:
        async with self._connection() as connection:
            await connection.execute("select 1 from entries limit 1")

    async def add(self, name: str, message: str) -> int:
        async with self._connection() as connection:
            added = await connection.execute(
                "insert into entries (name, message) values (%s, %s) returning id", (name, message)
            )
            row = await added.fetchone()
            assert row is not None
            return int(row[0])

    async def latest(self, count: int) -> list[Entry]:
        async with self._connection() as connection, connection.cursor(row_factory=class_row(Entry)) as cursor:
            await cursor.execute("select id, name, message, reply, at from entries order by id desc limit %s", (count,))
            return await cursor.fetchall()

    async def unanswered(self) -> list[Entry]:
        """Entries whose job was not published, or was lost: the queue was away when they were written."""
        async with self._connection() as connection, connection.cursor(row_factory=class_row(Entry)) as cursor:
            await cursor.execute(
                "select id, name, message, reply, at from entries "
                "where reply is null and at < now() - interval '5 seconds' order by id limit 50"
            )
            return await cursor.fetchall()

    async def answer(self, entry: int, reply: str) -> None:
        async with self._connection() as connection:
            await connection.execute("update entries set reply = %s where id = %s and reply is null", (reply, entry))

    async def answered(self, entry: int) -> bool:
        async with self._connection() as connection:
            found = await connection.execute("select reply is not null from entries where id = %s", (entry,))
            row = await found.fetchone()
            return bool(row and row[0])

    @contextlib.asynccontextmanager
    async def _connection(self):  # type: ignore[no-untyped-def]
        async with self._pool.connection() as connection:
            if not self._ready:
                # replicas start together, and "if not exists" alone does not keep two from creating at once
                await connection.execute("select pg_advisory_xact_lock(20310)")
                await connection.execute(
                    "create table if not exists entries (id bigint generated always as identity primary key, "
                    "name text not null, message text not null, reply text, at timestamptz not null default now())"
                )
                await connection.commit()
                self._ready = True
            yield connection


class Visits:
    """The counter, in Redis."""

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        self._key = f"{prefix}visits"

    async def close(self) -> None:
        await self._redis.aclose()

    async def check(self) -> None:
        await self._redis.get(self._key)

    async def count(self) -> int:
        return int(await self._redis.incr(self._key))


class Jobs:
    """The queue, in NATS JetStream: each entry is a job, and this app is its worker too."""

    SUBJECT = "jobs.greet"
    DURABLE = "greeter"

    def __init__(self, url: str, stream: str, entries: Entries) -> None:
        self._url = url
        self._stream = stream
        self._entries = entries
        self._client = Client()

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(0.5):
                await self._client.close()

    async def check(self) -> None:
        if not self._client.is_connected:
            raise ConnectionError("not connected")
        await self._client.jetstream(timeout=PATIENCE).consumer_info(self._stream, self.DURABLE)

    async def publish(self, entry: int, name: str) -> None:
        if not self._client.is_connected:
            raise ConnectionError("not connected")
        # the same job twice within two minutes is one message; later, `answer` writes only once
        await self._client.jetstream(timeout=PATIENCE).publish(
            self.SUBJECT, json.dumps({"entry": entry, "name": name}).encode(), headers={"Nats-Msg-Id": f"entry-{entry}"}
        )

    async def work(self) -> None:
        """Greet for ever: connect, take jobs, write the greetings; after any trouble begin again."""
        while True:
            try:
                if not self._client.is_connected and not self._client.is_reconnecting:
                    self._client = await nats.connect(
                        self._url, max_reconnect_attempts=-1, reconnect_time_wait=1, error_cb=_say, connect_timeout=2
                    )
                await self._take_jobs()
            except (nats.errors.Error, psycopg.Error, OSError, TimeoutError) as trouble:
                log.warning("%s: trying again", type(trouble).__name__)
            await asyncio.sleep(1)

    async def _take_jobs(self) -> None:
        jobs = await self._client.jetstream(timeout=PATIENCE).pull_subscribe(
            self.SUBJECT, durable=self.DURABLE, stream=self._stream, config=ConsumerConfig(ack_wait=10)
        )
        while True:
            try:
                messages = await jobs.fetch(10, timeout=3)
            except TimeoutError:
                for entry in await self._entries.unanswered():
                    await self.publish(entry.id, entry.name)
                continue
            for message in messages:
                job = json.loads(message.data)
                await self._entries.answer(
                    job["entry"], f"Welcome, {job['name']}! You are guest number {job['entry']}."
                )
                await message.ack()


async def _say(trouble: Exception) -> None:
    log.warning("%s", type(trouble).__name__)

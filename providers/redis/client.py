"""What can be done to a Redis server, each operation safe to repeat.

Redis has no comments on users, so what is ours stands in a hash, written before the first thing that it tells of and
deleted after the last.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

import msgspec
import redis.asyncio
from msgspec import Struct
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError

from providers.redis.errors import translated
from providers.redis.spec import TargetConfig
from twin.domain.errors import Transient

OWNED = "twin:owned"
"""Hash: component → mark."""

IDENTITY = "twin:identity"
"""The server's identity: `run_id` is a new one after every restart."""

TIMEOUT = 10.0
"""Seconds, to connect and for each answer."""

SLOWEST = 1_000_000
"""Bytes per second that a connection carries at least."""

BATCH = 1000
"""Keys looked at per SCAN."""

TRIES = 10
"""How often a transaction is begun anew because another worker was quicker."""

NO_ACL_FILE = "not configured to use an ACL file"

Command = tuple[str | bytes | int, ...]
"""A command and its arguments."""


class UserState(Struct, frozen=True, kw_only=True):
    """A user as ACL GETUSER shows it: the SHA-256 of each password (None: it needs no password), and in `rules`
    everything but passwords and on/off."""

    on: bool
    digests: frozenset[str] | None
    rules: str


OpenSession = Callable[[int], "AbstractAsyncContextManager[Session]"]


class Server:
    """A server that the twin works on. It holds no connection: a sleeping twin costs the server nothing."""

    def __init__(self, target: str, config: TargetConfig, password: str) -> None:
        self._target = target
        self._config = config
        self._password = password

    @asynccontextmanager
    async def session(self, database: int = 0) -> AsyncIterator[Session]:
        """A connection, closed at the end; whatever goes wrong inside comes out as a StepFailure."""
        with self.translated():
            async with self._connected(self._config.user, self._password, database) as client:
                yield Session(client, self.session)

    def translated(self) -> AbstractContextManager[None]:
        """Whatever this server refuses inside comes out as a StepFailure that names it."""
        return translated(target=self._target, user=self._config.user)

    async def refuses(self, user: str, password: str) -> bool:
        """Whether the server itself does not let this user in, asked by trying."""
        with translated(target=self._target, user=user):
            try:
                async with self._connected(user, password):
                    return False
            except AuthenticationError:
                return True

    @asynccontextmanager
    async def _connected(self, user: str, password: str, database: int = 0) -> AsyncIterator[redis.asyncio.Redis]:
        client = redis.asyncio.Redis(
            host=self._config.host,
            port=self._config.port,
            db=database,
            username=user,
            password=password,
            ssl=self._config.tls,
            socket_timeout=None,  # see Session._asked
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the engine retries
            client_name="twin",
            driver_info=None,
            protocol=2,
            decode_responses=False,  # keys are bytes, and not ours to decode
            single_connection_client=True,
        )
        # redis-py loses hold of a connection that is cancelled while it is made or closed, so neither is.
        try:
            await _whole(client.initialize())
            yield client
        finally:
            await _whole(client.aclose())


class Session:
    """One connection to one database of the server. `open_other` connects to another."""

    def __init__(self, client: redis.asyncio.Redis, open_other: OpenSession) -> None:
        self._redis: Any = client  # redis-py's types do not tell its synchronous from its asynchronous answers
        self._open_other = open_other
        self._version: int | None = None
        self._categories: frozenset[str] | None = None

    # --- reading ---

    async def identity(self) -> str:
        """A value that the server keeps with its data, made up on the first contact."""
        await self._asked(self._redis.set(IDENTITY, secrets.token_hex(16), nx=True))
        return _text(await self._asked(self._redis.get(IDENTITY)))

    async def user(self, name: str) -> UserState | None:
        """The user of that name, or None."""
        reply = await self.command("ACL", "GETUSER", name)
        if reply is None:
            return None
        fields = {_text(key): value for key, value in zip(reply[::2], reply[1::2], strict=True)}
        flags = {_text(flag) for flag in fields.pop("flags")}
        passwords = fields.pop("passwords")
        # Before 7.0 their order is the one of a hash table and another after every restart.
        fields["commands"] = sorted(_text(fields["commands"]).split())
        return UserState(
            on="on" in flags,
            digests=None if "nopass" in flags else frozenset(_text(each) for each in passwords),
            rules=msgspec.json.encode(_plain(fields), order="sorted").decode(),
        )

    async def marked(self, name: str) -> str | None:
        """The mark that stands for that component, or None."""
        reply = await self._asked(self._redis.hget(OWNED, name))
        return _text(reply) if reply else None

    async def marks(self) -> dict[str, str]:
        """Every component that is marked, with its mark."""
        return {_text(name): _text(mark) for name, mark in (await self._asked(self._redis.hgetall(OWNED))).items()}

    async def users(self) -> set[str]:
        """The names of all users."""
        return {_text(name) for name in await self.command("ACL", "USERS")}

    async def keys(self, prefix: str) -> AsyncIterator[list[bytes]]:
        """The keys of this session's database that begin with `prefix`, in batches (some empty)."""
        cursor = 0
        while True:
            cursor, batch = await self._asked(self._redis.scan(cursor, match=f"{prefix}*", count=BATCH))
            yield batch
            if cursor == 0:
                return

    async def databases(self) -> list[int]:
        """The databases that hold keys."""
        return sorted(int(name.removeprefix("db")) for name in await self._asked(self._redis.info("keyspace")))

    async def position(self) -> str:
        """Where the server's stream of changes is now: whose it is, and how many bytes."""
        info = await self._asked(self._redis.info("replication"))
        return f"{info['master_replid']}:{info['master_repl_offset']}"

    async def major_version(self) -> int:
        """Of the server."""
        if self._version is None:
            info = await self._asked(self._redis.info("server"))
            self._version = int(str(info["redis_version"]).partition(".")[0])
        return self._version

    async def categories(self) -> frozenset[str]:
        """Of commands, as the server's rules know them."""
        if self._categories is None:
            self._categories = frozenset(_text(name) for name in await self.command("ACL", "CAT"))
        return self._categories

    # --- making ---

    async def ensure_marked(self, component: str, mark: str) -> None:
        """The component is known as ours, before anything of it is there."""
        await self._asked(self._redis.hset(OWNED, component, mark))

    async def ensure_off(self, name: str) -> None:
        """The user, if there is one, may not log in and has no connection."""
        if await self.user(name) is None:
            return
        await self.command("ACL", "SETUSER", name, "off")
        await self.command("CLIENT", "KILL", "USER", name)

    async def ensure_saved(self) -> bool:
        """Users are on disk; False if the server has no ACL file, so that they end with it."""
        try:
            await self.command("ACL", "SAVE")
        except ResponseError as error:
            if NO_ACL_FILE in str(error):
                return False
            raise
        return True

    # --- unmaking ---

    async def drop_keys(self, prefix: str, heartbeat: Callable[[str], Awaitable[None]]) -> None:
        """No key begins with `prefix`, in any database. May be interrupted: what is gone stays gone."""
        for database in await self.databases():
            async with self._open_other(database) as other:
                deleted = 0
                async for batch in other.keys(prefix):
                    if batch:
                        deleted += await other.unlink(batch)
                    await heartbeat(f"{deleted} keys deleted from database {database}")

    async def unlink(self, keys: list[bytes]) -> int:
        """Delete these; gives how many of them there were."""
        return int(await self._asked(self._redis.unlink(*keys)))

    async def drop_user(self, name: str) -> None:
        """The user is gone; the server ends its connections."""
        await self.command("ACL", "DELUSER", name)

    async def drop_marked(self, component: str, *keys: str) -> None:
        """Nothing tells of the component any more: neither the twin's keys about it nor its mark. A server whose memory
        is full takes no transaction, so the mark goes last."""
        await self.command("DEL", *keys)
        await self.command("HDEL", OWNED, component)

    # --- how ---

    async def transact(self, key: str, decide: Callable[[], Awaitable[list[Command]]]) -> list[Any] | None:
        """Run what `decide` gives, all at once and only if `key` is still as it was when `decide` looked; None if it
        gives nothing. `decide` may be asked again.

        At most one of the commands may write keys. Redis 7 (until https://github.com/redis/redis/pull/14545) replays a
        transaction in its append-only file with the rights of the user `default`, and forgets it if they are not
        enough; one write alone is not logged as a transaction.
        """
        for _ in range(TRIES):
            await self.command("WATCH", key)
            commands = await decide()
            if not commands:
                await self.command("UNWATCH")
                return None
            *queued, ended = await self.pipelined([("MULTI",), *commands, ("EXEC",)])
            replies: list[Any] | None = ended if isinstance(ended, list) else None
            for reply in (*queued, ended, *(replies or ())):
                if isinstance(reply, Exception):
                    raise reply
            if replies is not None:
                return replies
        raise Transient(f"other workers keep changing {key} on this server")

    async def pipelined(self, commands: list[Command], *, size: int = 0) -> list[Any]:
        """The answers, each an error or not, to all of these sent at once; they may take longer if they are about
        many bytes. redis-py's pipeline would open a second connection."""
        connection = self._redis.connection
        replies: list[Any] = []
        async with asyncio.timeout(TIMEOUT + size / SLOWEST):
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        return replies

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        """The answer in time. redis-py's own timeout sends by `asyncio.wait_for`, which on Python 3.11 can swallow a
        cancellation (https://github.com/python/cpython/issues/81839), and the step would go on unwanted."""
        async with asyncio.timeout(TIMEOUT):
            return await answer

    async def command(self, *words: str | bytes | int) -> Any:
        """The server's answer as it came: redis-py reads these differently from version to version."""
        return await self._asked(self._redis.execute_command(*words))


async def _whole(work: Coroutine[Any, Any, Any]) -> None:
    """Do it to its end (within `TIMEOUT`), then pass on a cancellation that came meanwhile."""
    task = asyncio.ensure_future(asyncio.wait_for(work, TIMEOUT))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the cancellation is what counts
        raise


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """The reply with text for bytes."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _text(value)

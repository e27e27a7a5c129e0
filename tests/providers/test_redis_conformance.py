"""The suites of all providers, against a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from providers.redis import KIND
from providers.redis.client import OWNED
from providers.redis.provider import RedisProvider
from tests.providers.redis_world import Keyspace, administrator, app
from twin.ports.provider import Applied
from twin.testing.conformance.access import AccessConformance
from twin.testing.conformance.access_hooks import Session
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.conformance.rotation import RotationConformance

EACH = 1000
"""Cuts: more than there are places to cut at."""


class TestConformance(Keyspace, ProviderConformance):
    cuts = EACH

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        def by_hand(*words: str) -> Callable[[Applied], Awaitable[None]]:
            async def damage(applied: Applied) -> None:
                async with administrator(self.opened) as client:
                    await client.execute_command(*(word.format(applied.external_id) for word in words))

            return damage

        return {
            "a user turned off": by_hand("ACL", "SETUSER", "{}", "off"),
            "a deleted user": by_hand("ACL", "DELUSER", "{}"),
            "a right too many": by_hand("ACL", "SETUSER", "{}", "+flushall"),
            "a prefix too many": by_hand("ACL", "SETUSER", "{}", "~*"),
            "a second password": by_hand("ACL", "SETUSER", "{}", ">guess"),
            "another password": by_hand("ACL", "SETUSER", "{}", "resetpass", ">guess"),
            "no password": by_hand("ACL", "SETUSER", "{}", "nopass"),
            "a lost mark": by_hand("HDEL", OWNED, "{}"),
        }

    def unreachable(self) -> RedisProvider:
        target = self.opened[0]
        return KIND.open(msgspec.structs.replace(target, config={**target.config, "port": 1}), self.opened[1])

    def refused(self) -> RedisProvider:
        return KIND.open(self.opened[0], {"password": "wrong"})


class TestRotation(Keyspace, RotationConformance):
    cuts = EACH

    def is_refusal(self, error: Exception) -> bool:
        return isinstance(error, AuthenticationError)

    @asynccontextmanager
    async def session(self, applied: Applied) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        async with app(applied) as client:
            connection = await client.connection_pool.get_connection()  # asked directly, it does not reconnect

            async def ask() -> None:
                await connection.send_command("EXISTS", applied.outputs["prefix"] + "proof")
                await connection.read_response()

            yield ask


class TestAccess(Keyspace, AccessConformance):
    grant_cuts = EACH

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"scripts": n == 0}  # the suite writes as a member to what is scaled, so not to what is frozen

    async def enter(self, applied: Applied, secrets: Mapping[str, str]) -> Session:
        client = app(msgspec.structs.replace(applied, secrets=dict(secrets)))
        try:
            connection = await client.connection_pool.get_connection()
        except AuthenticationError as error:
            await client.aclose()
            raise PermissionError(str(error)) from None
        return MemberSession(client, connection, applied.outputs["prefix"])

    async def trespass(self, applied: Applied, secrets: Mapping[str, str], other: Applied) -> str | None:
        async with app(msgspec.structs.replace(applied, secrets=dict(secrets))) as client:
            key = other.outputs["prefix"] + "kept"
            own = applied.outputs["prefix"] + "stolen"
            for words in (
                ("GET", key),
                ("COPY", key, own),
                ("RENAME", key, own),
                ("EVAL", "return redis.call('GET', ARGV[1])", "0", key),
                ("BITOP", "OR", own, key),
            ):
                try:
                    return str(await client.execute_command(*words))
                except RedisError as error:
                    if "permission" not in str(error) and "can't access" not in str(error):
                        raise
        return None


class MemberSession:
    """One connection, which never reconnects."""

    def __init__(self, client: Any, connection: AbstractConnection, prefix: str) -> None:
        self._client = client
        self._connection = connection
        self._key = prefix + "kept"

    async def read(self) -> str | None:
        value: str | None = await self._ask("GET", self._key)
        return value

    async def write(self, value: str) -> None:
        await self._ask("SET", self._key, value)

    async def ended(self) -> None:
        assert self._connection._reader is not None  # redis-py has no public way to wait for an end
        async with asyncio.timeout(10):
            assert await self._connection._reader.read(1) == b""

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)
        await self._client.aclose()

    async def _ask(self, *words: str) -> Any:
        try:
            await self._connection.send_command(*words, check_health=False)
            return await self._connection.read_response()
        except NoPermissionError as error:
            raise PermissionError(str(error)) from None
        except RedisConnectionError as error:
            raise ConnectionResetError(str(error)) from None

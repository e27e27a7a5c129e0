"""What the tests of the Redis provider see of the server without asking the provider, and what its suites share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError

from providers.local import LocalServers
from providers.redis import KIND
from providers.redis.provider import RedisProvider
from providers.redis.spec import KEYSPACE
from twin.domain.targets import Target
from twin.ports.provider import Applied, StepContext
from twin.testing.conformance.provider_hooks import ProviderHooks
from twin.testing.steps import make_step

Opened = tuple[Target, dict[str, str]]
"""A target and its credentials."""


def local_redis(local_servers: LocalServers) -> Opened:
    """The local server, running."""
    local_servers.start("redis")
    return next(each for each in local_servers.targets() if each[0].provider == "redis")


def administrator(opened: Opened, database: int = 0) -> redis.asyncio.Redis:
    """The server by hand, with the target's own credentials."""
    target, credentials = opened
    config = target.config
    return redis.asyncio.Redis(
        host=config["host"], port=config["port"], username=config["user"], db=database, **credentials
    )


def app(applied: Applied) -> Any:
    """The app's client, by the URL it was given."""
    return redis.asyncio.Redis.from_url(applied.secrets["url"], decode_responses=True)


def step(password: str = "pass word", **inputs: Any) -> StepContext:
    """A first attempt with the first credential."""
    return make_step(inputs, {"password": password})


class Keyspace(ProviderHooks):
    """What every suite needs to know of `redis.keyspace`."""

    component_type = KEYSPACE
    opened: Opened

    @pytest.fixture
    async def provider(self, local_servers: LocalServers) -> AsyncIterator[RedisProvider]:
        self.opened = local_redis(local_servers)
        self.credentials = self.opened[1]
        provider = KIND.open(*self.opened)
        yield provider
        await provider.close()

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"access": "read-only" if n else "read-write"}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        async with app(applied) as client:
            key = applied.outputs["prefix"] + "proof"
            if inputs.get("access") == "read-only":
                await client.get(key)
                with pytest.raises(NoPermissionError):
                    await client.set(key, "1")
            else:
                await client.set(key, "1")
                assert await client.get(key) == "1"

    async def put(self, applied: Applied, value: str) -> None:
        async with app(applied) as client:
            await client.set(applied.outputs["prefix"] + "kept", value)

    async def get(self, applied: Applied) -> str | None:
        async with app(applied) as client:
            value: str | None = await client.get(applied.outputs["prefix"] + "kept")
            return value

"""Who may enter a keyspace: people by their roles, and the app by credentials that rotate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError, NoPermissionError

from providers.local import LocalServers
from providers.redis import KIND
from providers.redis.names import app_user, member_user
from providers.redis.provider import RedisProvider
from providers.redis.rules import Role
from providers.redis.spec import KEYSPACE
from tests.providers.redis_world import Opened, administrator, app, local_redis, step
from twin.domain.errors import Terminal
from twin.domain.identity import ComponentRef
from twin.ports.provider import Member
from twin.testing.steps import make_ref, make_step


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    """The local server."""
    return local_redis(local_servers)


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[RedisProvider]:
    provider = KIND.open(*opened)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: RedisProvider) -> AsyncIterator[ComponentRef]:
    """A component that is removed after the test."""
    ref = make_ref("cache", type=KEYSPACE.name)
    yield ref
    await provider.remove(ref, make_step())


@pytest.fixture
async def admin(opened: Opened) -> AsyncIterator[Any]:
    """The server by hand."""
    async with administrator(opened) as client:
        yield client


async def test_people_may_do_what_an_app_may_and_viewers_only_what_reads(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await provider.apply(ref, step(access="read-only"))
    team = (person("ada", "admin"), person("vera", "viewer"))
    given = await provider.grant(ref, step(access="read-only"), team)
    for secrets in given.values():
        async with client_of(secrets) as client:
            with pytest.raises(NoPermissionError):
                await client.set(f"{ref.name}:key", "1")
    applied = await provider.apply(ref, step())
    async with client_of(given["ada"]) as client:
        await client.set(f"{ref.name}:key", "1")
        assert await client.eval("return 1", 0) == 1
    async with client_of(given["vera"]) as client:
        assert await client.get(f"{ref.name}:key") == "1"
        for words in (("SET", f"{ref.name}:key", "2"), ("PUBLISH", f"{ref.name}:news", "x"), ("EVAL", "return 1", "0")):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*words)
        async with client.pubsub() as listener:
            await listener.subscribe(f"{ref.name}:news")
            await listener.get_message(timeout=5)
            async with app(applied) as speaker:
                assert await speaker.publish(f"{ref.name}:news", "hello") == 1, "a viewer may listen"


async def test_access_granted_while_suspended_waits_for_the_resumption(
    provider: RedisProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    await provider.suspend(ref, step())
    given = await provider.grant(ref, step(), (person("ada", "developer"),))
    async with client_of(given["ada"]) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
    await provider.apply(ref, step())
    async with client_of(given["ada"]) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
    await provider.grant(ref, step(), (person("ada", "developer"),))
    async with client_of(given["ada"]) as client:
        assert await client.ping()


async def test_a_damaged_members_user_is_seen_and_mended(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    given = await provider.grant(ref, step(), (person("ada", "developer"),))
    user = member_user(ref.name, "ada")
    for damage in (("DELUSER", user), ("SETUSER", user, "~*"), ("SETUSER", user, ">guess"), ("SETUSER", user, "off")):
        await admin.execute_command("ACL", *damage)
        observed = await provider.observe(ref, {})
        assert observed is not None
        assert set(observed.drift) == {"members"}, damage
        assert "ada" in observed.drift["members"]
        await provider.apply(ref, step())
        await provider.grant(ref, step(), (person("ada", "developer"),))
        observed = await provider.observe(ref, {})
        assert observed is not None
        assert observed.drift == {}, damage
    async with client_of(given["ada"]) as client:
        assert await client.ping(), "with the password from before"


async def test_a_retired_credential_is_not_made_valid_by_one_who_knows_no_other(
    provider: RedisProvider, ref: ComponentRef
) -> None:
    old, new = {"password": "old"}, {"password": "new"}
    await provider.apply(ref, make_step({}, old, credentials={1: old}))
    await provider.issue(ref, make_step({}, new, credentials={1: old, 2: new}))
    await provider.retire(ref, make_step({}, new, credentials={2: new}), 1, old)
    with pytest.raises(Terminal, match="retired"):
        await provider.apply(ref, make_step({}, old, credentials={1: old}))
    with pytest.raises(Terminal, match="retired"):
        await provider.issue(ref, make_step({}, old, credentials={1: old}))


async def test_the_last_credential_ends_only_once_the_next_stands(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    old, new = {"password": "old"}, {"password": "new"}
    await provider.apply(ref, make_step({}, old, credentials={1: old}))
    issued = await provider.issue(ref, make_step({}, new, credentials={1: old, 2: new}))
    await admin.acl_deluser(app_user(ref.name, 2))  # by hand, in the middle
    await provider.retire(ref, make_step({}, new, credentials={2: new}), 1, old)
    async with app(issued) as client:
        assert await client.ping()


def person(name: str, role: Role) -> Member:
    return Member(name=name, role=role, secrets={"password": f"password of {name}"})


def client_of(secrets: Mapping[str, str]) -> Any:
    return redis.asyncio.Redis.from_url(secrets["url"], decode_responses=True)

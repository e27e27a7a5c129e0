"""A keyspace becomes a copy of another one, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from providers.local import LocalServers
from providers.redis import KIND
from providers.redis.copying import COPYING, KEYS_AT_ONCE
from providers.redis.provider import RedisProvider
from providers.redis.spec import KEYSPACE
from tests.providers.redis_world import Opened, administrator, app, local_redis, step
from tests.waiting import soon
from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Seeded, Source
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_ref, make_step

CUTS = 20

STREAM = b"5-1"


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
async def origin(provider: RedisProvider) -> AsyncIterator[ComponentRef]:
    """A component in use, with nothing in it."""
    ref = make_ref("cache", type=KEYSPACE.name)
    await provider.apply(ref, step())
    yield ref
    await provider.remove(ref, step())


@pytest.fixture
async def ref(provider: RedisProvider) -> AsyncIterator[ComponentRef]:
    """The one that is to be its copy."""
    ref = make_ref("cache", type=KEYSPACE.name)
    yield ref
    await provider.remove(ref, step())


@pytest.fixture
async def admin(opened: Opened) -> AsyncIterator[Any]:
    """The server by hand."""
    async with administrator(opened) as client:
        yield client


def source_of(
    provider: RedisProvider, ref: ComponentRef, mode: Literal["schema", "full", "masked"] = "full", **more: Any
) -> Source:
    return Source(ref=ref, provider=provider, inputs={}, mode=mode, **more)


async def fill(admin: Any, ref: ComponentRef) -> int:
    """One key of every type, one of which ends, and a name that is no text; gives how many."""
    prefix = ref.name.encode() + b":"
    await admin.set(prefix + b"text", "hello")
    await admin.set(prefix + b"ends", "soon", px=3_600_000)
    await admin.set(prefix + b"\xff\x00\n", b"\x00\x01")
    await admin.rpush(prefix + b"list", *range(1000))
    await admin.hset(prefix + b"hash", mapping={"a": "1", "b": "2"})
    await admin.sadd(prefix + b"set", "x", "y")
    await admin.zadd(prefix + b"sorted", {"one": 1.5, "two": 2.5})
    await admin.xadd(prefix + b"stream", {"n": "1"}, id=STREAM)
    await admin.xgroup_create(prefix + b"stream", "workers", id="0")
    await admin.pfadd(prefix + b"count", "a", "b")
    await admin.geoadd(prefix + b"places", (13.4, 52.5, "Berlin"))
    return 10


async def content(admin: Any, ref: ComponentRef) -> dict[bytes, Any]:
    """What is below a component's prefix: the name without it → the value as the server itself writes it down, or,
    since a set has no order, its members."""
    found = {}
    async for key in admin.scan_iter(match=f"{ref.name}:*"):
        is_set = await admin.type(key) == b"set"
        found[key.removeprefix(ref.name.encode() + b":")] = await (admin.smembers(key) if is_set else admin.dump(key))
    return found


async def test_every_type_of_value_arrives_with_the_time_that_it_has_left(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    count = await fill(admin, origin)
    await admin.copy(f"{origin.name}:text", f"{origin.name}:text", destination_db=3)
    await admin.set(f"{origin.name}0:text", "of another that begins alike")
    before = await content(admin, origin)
    try:
        seeded = await provider.seed(ref, step(), source_of(provider, origin))
    finally:
        await admin.delete(f"{origin.name}0:text")
    assert await content(admin, ref) == await content(admin, origin) == before
    assert len(before) == count
    assert seeded.rows == count + 1
    assert seeded.bytes > len(before[b"list"]) > 1000
    first, last = seeded.point.split(" to ")
    assert first.partition(":")[0] == last.partition(":")[0] == (await admin.info("replication"))["master_replid"]
    assert 3_500_000 < await admin.pttl(f"{ref.name}:ends") <= 3_600_000
    assert await admin.pttl(f"{ref.name}:text") == -1
    async with app(await provider.apply(ref, step())) as client:
        assert await client.get(f"{ref.name}:text") == "hello"
        (group,) = await client.xinfo_groups(f"{ref.name}:stream")
        assert group["name"] == "workers"
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.drift == {}


async def test_until_it_is_applied_nobody_can_enter_and_the_inventory_has_it(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    count = await fill(admin, origin)
    await provider.seed(ref, step(), source_of(provider, origin))
    assert not [name for name in await admin.acl_users() if name.startswith(ref.name)]
    found = {(each.kind, each.external_id, each.detail) async for each in provider.owned(ref.environment)}
    assert ("redis.keys", f"{ref.name}:*", f"{count} keys") in found
    assert ("redis.mark", ref.name, "marked as ours, without a user") in found
    await provider.remove(ref, step())
    assert [each async for each in provider.owned(ref.environment)] == []
    assert await admin.exists(COPYING + ref.name) == 0


async def test_done_is_not_copied_again_and_the_source_goes_its_own_way(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await fill(admin, origin)
    first = await provider.seed(ref, step(), source_of(provider, origin))
    async with app(await provider.apply(ref, step())) as client:
        await client.set(f"{ref.name}:text", "of the clone")
        await admin.set(f"{origin.name}:text", "of the source")
        assert await provider.seed(ref, step(), source_of(provider, origin)) == first
        await provider.remove(origin, step())
        assert await client.get(f"{ref.name}:text") == "of the clone"


async def test_a_copy_and_all_that_tells_of_it_survive_a_restart(
    local_servers: LocalServers, provider: RedisProvider, opened: Opened, origin: ComponentRef, ref: ComponentRef
) -> None:
    async with administrator(opened) as admin:
        await fill(admin, origin)
        seeded = await provider.seed(ref, step(), source_of(provider, origin))
    waiting = make_ref("cache", type=KEYSPACE.name)
    await provider.seed(waiting, step(), source_of(provider, origin))
    await provider.apply(ref, step())
    await asyncio.to_thread(local_servers.stop, "redis")
    await asyncio.to_thread(local_servers.start, "redis")
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.drift == {}
    async with administrator(opened) as admin:
        assert await content(admin, ref) == await content(admin, waiting) == await content(admin, origin)
    assert await provider.seed(ref, step(), source_of(provider, origin)) == seeded
    assert {each.kind async for each in provider.owned(waiting.environment)} == {"redis.mark", "redis.keys"}
    await provider.remove(waiting, step())


async def test_an_interrupted_copy_is_made_anew(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    count, total = await fill(admin, origin), Suspensions()
    expected = await content(admin, origin)
    whole = await counted(provider.seed(ref, step(), source_of(provider, origin)), total)
    for at in spread(total.count, CUTS):
        cut = make_ref("cache", type=KEYSPACE.name)
        try:
            await cut_short(provider.seed(cut, step(), source_of(provider, origin)), at)
            await admin.set(f"{cut.name}:left", "by somebody")  # as of a key that the source has lost meanwhile
            done = await admin.get(COPYING + cut.name)
            seeded = await provider.seed(cut, step(), source_of(provider, origin))
            assert (seeded.rows, seeded.bytes) == (whole.rows, whole.bytes) == (count, seeded.bytes)
            if done is None or b"done" not in done:
                assert await content(admin, cut) == expected, f"cut at {at}/{total.count}"
        finally:
            await provider.remove(cut, step())
        assert [each async for each in provider.owned(cut.environment)] == []


async def test_remove_clears_every_stage_of_a_copy(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    total = Suspensions()
    await fill(admin, origin)
    await counted(provider.seed(ref, step(), source_of(provider, origin)), total)
    for at in spread(total.count, CUTS):
        cut = make_ref("cache", type=KEYSPACE.name)
        await cut_short(provider.seed(cut, step(), source_of(provider, origin)), at)
        await provider.remove(cut, step())
        assert [each async for each in provider.owned(cut.environment)] == []
        assert await provider.observe(cut, {}) is None
        assert await admin.exists(COPYING + cut.name) == 0


def halting(at: int) -> tuple[Callable[[str], Awaitable[None]], asyncio.Event, asyncio.Event]:
    """A heartbeat that stands still at its `at`-th beat: says so, and waits to be told to go on."""
    halted, go_on = asyncio.Event(), asyncio.Event()
    beats = 0

    async def heartbeat(progress: str) -> None:
        nonlocal beats
        beats += 1
        if beats == at:
            halted.set()
            await go_on.wait()

    return heartbeat, halted, go_on


async def test_one_that_was_given_up_changes_nothing_once_another_has_begun(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await admin.mset({f"{origin.name}:{n}": n for n in range(3 * KEYS_AT_ONCE)})
    heartbeat, halted, go_on = halting(1)
    zombie = asyncio.create_task(provider.seed(ref, make_step(heartbeat=heartbeat), source_of(provider, origin)))
    await asyncio.wait_for(halted.wait(), 10)
    seeded = await provider.seed(ref, step(), source_of(provider, origin))
    assert seeded.rows == 3 * KEYS_AT_ONCE
    async with app(await provider.apply(ref, step())) as client:
        await client.delete(*(f"{ref.name}:{n}" for n in range(3 * KEYS_AT_ONCE)))
        await client.set(f"{ref.name}:mine", "1")
    go_on.set()
    with pytest.raises(Transient, match="another attempt"):
        await asyncio.wait_for(zombie, 10)
    assert set(await content(admin, ref)) == {b"mine"}


async def test_one_that_still_copies_adds_nothing_to_what_is_removed(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await admin.mset({f"{origin.name}:{n}": n for n in range(3 * KEYS_AT_ONCE)})
    heartbeat, halted, go_on = halting(2)
    zombie = asyncio.create_task(provider.seed(ref, make_step(heartbeat=heartbeat), source_of(provider, origin)))
    await asyncio.wait_for(halted.wait(), 10)
    await provider.remove(ref, step())
    go_on.set()
    with pytest.raises(Transient, match="removed"):
        await asyncio.wait_for(zombie, 10)
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_two_at_once_make_one_copy(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await fill(admin, origin)
    attempts = (provider.seed(ref, step(), source_of(provider, origin)) for _ in range(2))
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        assert isinstance(outcome, Seeded | Transient), outcome
    await provider.seed(ref, step(), source_of(provider, origin))
    assert await content(admin, ref) == await content(admin, origin)


async def test_the_source_serves_on_and_every_key_is_copied_whole(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    names = [f"{origin.name}:{n}" for n in range(1000)]
    async with admin.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hset(name, mapping={"a": 0, "b": 0})
        await pipeline.execute()
    applied = await provider.apply(origin, step())
    written, copied = 0, asyncio.Event()

    async def heartbeat(progress: str) -> None:
        """Between two portions of the copy, some writes."""
        until = written + 5

        async def enough() -> bool:
            return written >= until

        await soon(enough)

    async def write() -> None:
        """Change both fields of a key at once, again and again, and add and delete others."""
        nonlocal written
        async with app(applied) as client:
            while not copied.is_set():
                written += 1
                name = names[written % len(names)]
                await client.hset(name, mapping={"a": written, "b": written})
                await client.set(f"{origin.name}:new{written}", "x")
                await client.delete(f"{origin.name}:new{written - 5}")

    writer = asyncio.create_task(write())
    try:
        await provider.seed(ref, make_step(heartbeat=heartbeat), source_of(provider, origin))
    finally:
        copied.set()
        await writer
    for name in names:
        fields = await admin.hgetall(name.replace(origin.name, ref.name))
        assert fields[b"a"] == fields[b"b"], "each key as it was at one moment"


async def test_a_suspended_source_is_copied_as_it_stands(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await fill(admin, origin)
    await provider.suspend(origin, step())
    await provider.seed(ref, step(), source_of(provider, origin, suspended=True))
    assert await content(admin, ref) == await content(admin, origin)
    observed = await provider.observe(origin, {})
    assert observed is not None
    assert set(observed.drift) == {"suspended"}, "it stays suspended"


async def test_from_one_server_to_another(
    provider: RedisProvider, admin: Any, origin: ComponentRef, tmp_path: Path
) -> None:
    count = await fill(admin, origin)
    servers = LocalServers(tmp_path)
    there = local_redis(servers)
    ref = make_ref("cache", type=KEYSPACE.name)
    other = KIND.open(*there)
    try:
        seeded = await other.seed(ref, step(), source_of(provider, origin))
        assert seeded.rows == count
        async with administrator(there) as client:
            assert await content(client, ref) == await content(admin, origin)
        assert await content(admin, ref) == {}
        await provider.remove(origin, step())
        async with app(await other.apply(ref, step())) as client:
            assert await client.get(f"{ref.name}:text") == "hello"
        assert [each async for each in provider.owned(ref.environment)] == []
    finally:
        await other.close()
        await asyncio.to_thread(servers.remove)


async def test_progress_is_told_in_keys_and_bytes(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await admin.mset({f"{origin.name}:{n}": "x" * 100 for n in range(3 * KEYS_AT_ONCE)})
    await admin.set(f"{origin.name}:large", "x" * 3_000_000)
    heard: list[str] = []

    async def heartbeat(progress: str) -> None:
        heard.append(progress)

    seeded = await provider.seed(ref, make_step(heartbeat=heartbeat), source_of(provider, origin))
    assert len(heard) >= 4
    assert heard[-1] == f"{seeded.rows} keys copied, {seeded.bytes} bytes"
    assert seeded.rows == 3 * KEYS_AT_ONCE + 1


async def test_a_failure_names_the_server_that_failed(
    opened: Opened, provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef, tmp_path: Path
) -> None:
    await fill(admin, origin)
    with pytest.raises(Blocked) as refused:
        await provider.seed(ref, step(), source_of(KIND.open(opened[0], {"password": "wrong"}), origin))
    assert refused.value.key == "redis/local/credentials"
    servers = LocalServers(tmp_path)
    target, credentials = local_redis(servers)
    other = KIND.open(type(target)(name="redis/other", provider="redis", config=target.config), credentials)
    heartbeat, halted, go_on = halting(1)
    await admin.mset({f"{origin.name}:{n}": n for n in range(3 * KEYS_AT_ONCE)})
    try:
        copy = asyncio.create_task(other.seed(ref, make_step(heartbeat=heartbeat), source_of(provider, origin)))
        await asyncio.wait_for(halted.wait(), 10)
        async with administrator((target, credentials)) as client:
            await client.config_set("maxmemory", 1)
        go_on.set()
        with pytest.raises(Blocked) as full:
            await asyncio.wait_for(copy, 10)
        assert full.value.key == "redis/other/capacity", "the one that is written to, not the one that is read"
    finally:
        await other.close()
        await asyncio.to_thread(servers.remove)


async def test_what_is_in_use_is_not_copied_over(
    provider: RedisProvider, admin: Any, origin: ComponentRef, ref: ComponentRef
) -> None:
    await fill(admin, origin)
    async with app(await provider.apply(ref, step())) as client:
        await client.set(f"{ref.name}:precious", "1")
    with pytest.raises(Terminal, match="in use"):
        await provider.seed(ref, step(), source_of(provider, origin))
    assert set(await content(admin, ref)) == {b"precious"}


@pytest.mark.parametrize("mode", ["schema", "masked"])
async def test_other_modes_are_refused(
    provider: RedisProvider, origin: ComponentRef, ref: ComponentRef, mode: Literal["schema", "masked"]
) -> None:
    assert mode not in KEYSPACE.copies
    with pytest.raises(Terminal, match=mode):
        await provider.seed(ref, step(), source_of(provider, origin, mode))

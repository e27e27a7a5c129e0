"""Two login roles under one owner: a rotation that nobody notices, and old passwords that are proven dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from providers.local import LocalServers
from providers.postgres import KIND, names
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from tests.providers.postgres_by_hand import Opened, as_superuser, open_local, query, refused, rotating, run
from tests.waiting import soon
from twin.domain.errors import Blocked, Transient
from twin.domain.identity import ComponentRef
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_ref, make_step

FIRST, SECOND, THIRD = "the first password", "the second password", "the third password"


@pytest.fixture(scope="session")
def opened(local_servers: LocalServers) -> Opened:
    return open_local(local_servers)


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[PostgresProvider]:
    provider = KIND.open(*opened)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: PostgresProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("a" * 24 + "-z", type=DATABASE.name, incarnation=999_999)  # the longest name
    yield ref
    await provider.remove(ref, make_step())
    assert [each async for each in provider.owned(ref.environment)] == []


def secrets(password: str) -> dict[str, str]:
    return {"password": password}


async def drift(provider: PostgresProvider, ref: ComponentRef) -> dict[str, str]:
    observed = await provider.observe(ref, {})
    assert observed is not None
    return observed.drift


async def test_what_one_credential_made_the_next_one_uses_and_the_third_takes_the_place_of_the_first(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    first = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    await query(first, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)")
    second = (await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))).secrets["url"]
    await query(second, "ALTER TABLE orders ADD COLUMN paid bool")
    await query(first, "INSERT INTO orders VALUES (2, true)")
    await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
    assert await refused(first)
    third = await provider.issue(ref, rotating({2: SECOND, 3: THIRD}))
    assert third.outputs["user"] == names.login(ref, 1), "the slot is used again"
    assert await refused(first), "with another password"
    await provider.retire(ref, rotating({3: THIRD}), 1, secrets(FIRST))  # a late one: proves, and harms nothing
    await provider.retire(ref, rotating({3: THIRD}), 2, secrets(SECOND))
    await provider.retire(ref, rotating({3: THIRD}), 2, secrets(SECOND))
    assert await refused(second)
    assert await query(third.secrets["url"], "SELECT count(*) FROM orders") == [(2,)]
    owners = await query(
        third.secrets["url"], "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"
    )
    assert owners == [(ref.name,)]
    assert await drift(provider, ref) == {}
    observed = await provider.observe(ref, {})
    assert observed is not None
    assert observed.outputs == third.outputs


async def test_retiring_ends_open_sessions_and_leaves_the_others(provider: PostgresProvider, ref: ComponentRef) -> None:
    first = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    second = (await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))).secrets["url"]
    async with (
        await psycopg.AsyncConnection.connect(first, autocommit=True) as old,
        await psycopg.AsyncConnection.connect(second, autocommit=True) as new,
    ):
        await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
        with pytest.raises(psycopg.OperationalError):
            await old.execute("SELECT")
        await new.execute("SELECT")


async def test_an_apply_makes_every_live_credential_valid_again_and_ends_none(
    opened: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    first = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    second = (await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))).secrets["url"]
    await provider.suspend(ref, rotating({1: FIRST, 2: SECOND}))
    assert await refused(first)
    assert await refused(second)
    await provider.apply(ref, rotating({1: FIRST, 2: SECOND}))
    await provider.apply(ref, rotating({2: SECOND}))  # knows no more of the first, and leaves it
    await run(opened, "ALTER ROLE {} NOLOGIN", names.login(ref, 2))
    assert "login" in await drift(provider, ref)
    await provider.apply(ref, rotating({1: FIRST, 2: SECOND}))
    assert not await refused(first)
    assert not await refused(second)


async def test_an_attempt_that_comes_too_late_brings_no_ended_credential_back(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    first = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))
    await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
    with pytest.raises(Transient):
        await provider.apply(ref, rotating({1: FIRST}))
    await provider.apply(ref, rotating({1: FIRST, 2: SECOND}))
    assert await refused(first)
    third = (await provider.issue(ref, rotating({2: SECOND, 3: THIRD}))).secrets["url"]
    await provider.apply(ref, rotating({1: FIRST, 2: SECOND}))
    assert not await refused(third), "nor does it take the place of a later one"


async def test_a_client_that_reconnects_in_a_loop_sees_no_failed_login_whatever_is_interrupted(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    """Each rotation is cut at another point and then done again, as after a crash."""
    passwords = {version: f"password number {version}" for version in range(1, 9)}
    current = (await provider.apply(ref, rotating({1: passwords[1]}))).secrets["url"]
    logins, failures, stop = 0, [], asyncio.Event()

    async def reconnect() -> None:
        nonlocal logins
        while not stop.is_set():
            try:
                await query(current, "SELECT")
                logins += 1
            except psycopg.Error as error:
                failures.append(str(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(reconnect())
        for version in range(2, 9):
            both = {each: passwords[each] for each in (version - 1, version)}
            only = {version: passwords[version]}
            issuing = Suspensions()
            if version == 2:
                await counted(provider.issue(ref, rotating(both)), issuing)
            await cut_short(provider.issue(ref, rotating(both)), 3 * version)
            await cut_short(provider.apply(ref, rotating(both)), 4 * version)
            current = (await provider.issue(ref, rotating(both))).secrets["url"]
            before = logins

            async def moved_on(before: int = before) -> bool:
                return logins >= before + 4  # both clients have taken the new one: the old is in no one's hand

            await soon(moved_on)
            await cut_short(
                provider.retire(ref, rotating(only), version - 1, secrets(passwords[version - 1])), 3 * version
            )
            await provider.retire(ref, rotating(only), version - 1, secrets(passwords[version - 1]))
        stop.set()
    assert failures == []
    assert await drift(provider, ref) == {}


async def test_a_retirement_cut_anywhere_is_finished_by_the_next(provider: PostgresProvider, ref: ComponentRef) -> None:
    await provider.apply(ref, rotating({1: "1" * 12}))
    total, version = Suspensions(), 1

    async def rotate() -> None:
        nonlocal version
        version += 1
        await provider.issue(ref, rotating({version - 1: str(version - 1) * 12, version: str(version) * 12}))

    await rotate()
    await counted(provider.retire(ref, rotating({2: "2" * 12}), 1, secrets("1" * 12)), total)
    for at in spread(total.count, 5):
        await rotate()
        live, old = rotating({version: str(version) * 12}), secrets(str(version - 1) * 12)
        await cut_short(provider.retire(ref, live, version - 1, old), at)
        await provider.retire(ref, live, version - 1, old)
        assert await drift(provider, ref) == {}


@asynccontextmanager
async def trusting(servers: LocalServers, opened: Opened) -> AsyncIterator[None]:
    """The server asks nobody for a password."""
    directory = next(status.directory for status in servers.status() if status.kind == "postgres")
    file = Path(directory) / "server" / "pg_hba.conf"
    text = file.read_text()
    root = as_superuser(servers, opened)
    try:
        file.write_text(text.replace("scram-sha-256", "trust"))
        await run(root, "SELECT pg_reload_conf()")
        yield
    finally:
        file.write_text(text)
        await run(root, "SELECT pg_reload_conf()")


async def test_a_server_that_asks_for_no_password_is_not_taken_for_one_that_refuses_it(
    local_servers: LocalServers, opened: Opened, provider: PostgresProvider, ref: ComponentRef
) -> None:
    first = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))
    await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
    await provider.issue(ref, rotating({2: SECOND, 3: THIRD}))
    assert await refused(first)
    async with trusting(local_servers, opened):

        async def believes() -> bool:
            return not await refused(first)

        await soon(believes)
        with pytest.raises(Blocked) as blocked:
            await provider.retire(ref, rotating({3: THIRD}), 1, secrets(FIRST))
    assert blocked.value.key == "postgres/local/trust"

    async def asks() -> bool:
        return await refused(first)

    await soon(asks)


class TestOfThePreviousTwin:
    """A component that was made when its owner logged in itself."""

    @pytest.fixture
    async def old(self, opened: Opened, ref: ComponentRef) -> str:
        """As it was left then, with a table; its URL."""
        config = opened[0].config
        await run(opened, f"CREATE ROLE {{}} NOSUPERUSER NOCREATEDB NOCREATEROLE LOGIN PASSWORD '{FIRST}'", ref.name)
        await run(opened, "GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE", ref.name)
        await run(opened, f"COMMENT ON ROLE {{}} IS '{ref.mark}'", ref.name)
        await run(
            opened,
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin"
            " BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C' CONNECTION LIMIT 20",
            ref.name,
            ref.name,
        )
        await run(opened, f"COMMENT ON DATABASE {{}} IS '{ref.mark}'", ref.name)
        await run(opened, "REVOKE ALL ON DATABASE {} FROM PUBLIC", ref.name)
        url = f"postgresql://{ref.name}:{FIRST.replace(' ', '%20')}@{config['host']}:{config['port']}/{ref.name}"
        await query(url, "CREATE TABLE kept (value text); INSERT INTO kept VALUES ('precious')")
        return url

    async def test_it_is_as_applied_until_it_is_applied_again(
        self, provider: PostgresProvider, ref: ComponentRef, old: str
    ) -> None:
        observed = await provider.observe(ref, {})
        assert observed is not None
        assert (observed.drift, observed.outputs["user"]) == ({}, ref.name)

    async def test_its_login_works_beside_the_new_one_until_its_credential_is_retired(
        self, provider: PostgresProvider, ref: ComponentRef, old: str
    ) -> None:
        applied = await provider.apply(ref, rotating({1: FIRST}))
        new = applied.secrets["url"]
        assert applied.outputs["user"] == names.login(ref, 1)
        assert await drift(provider, ref) == {}
        for url in (old, new):
            assert await query(url, "SELECT value FROM kept") == [("precious",)]
        await query(new, "ALTER TABLE kept ADD COLUMN more int")  # what the owner made before is the new login's too
        await provider.suspend(ref, rotating({1: FIRST}))
        assert await refused(old)
        await provider.apply(ref, rotating({1: FIRST}))
        assert not await refused(old)
        second = (await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))).secrets["url"]
        async with await psycopg.AsyncConnection.connect(old, autocommit=True) as connected:
            await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
            with pytest.raises(psycopg.OperationalError):
                await connected.execute("SELECT")
        assert await refused(old)
        assert await refused(new)
        await provider.apply(ref, rotating({2: SECOND}))
        assert await refused(old), "and no apply opens it again"
        assert await query(second, "SELECT value FROM kept") == [("precious",)]
        assert await drift(provider, ref) == {}

    async def test_another_password_replaces_it(self, provider: PostgresProvider, ref: ComponentRef, old: str) -> None:
        await provider.apply(ref, rotating({1: SECOND}))
        assert await refused(old)

    async def test_a_rotation_as_the_first_thing_leaves_it_valid_meanwhile(
        self, provider: PostgresProvider, ref: ComponentRef, old: str
    ) -> None:
        await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))
        assert not await refused(old)
        await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
        assert await refused(old)


async def test_an_object_made_as_the_login_role_itself_goes_to_the_owner(
    provider: PostgresProvider, ref: ComponentRef
) -> None:
    url = (await provider.apply(ref, rotating({1: FIRST}))).secrets["url"]
    await query(url, "SET ROLE NONE; CREATE TABLE mine (id int)")
    second = (await provider.issue(ref, rotating({1: FIRST, 2: SECOND}))).secrets["url"]
    await provider.retire(ref, rotating({2: SECOND}), 1, secrets(FIRST))
    assert await query(second, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'mine'") == [(ref.name,)]

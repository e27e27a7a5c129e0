"""The NATS provider on a real server."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import nats
import nats.errors
import pytest
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from providers.local import LocalServers
from providers.nats import KIND
from providers.nats.accounts import Account
from providers.nats.client import MARK
from providers.nats.provider import NatsProvider
from tests.providers.nats_world import (
    INPUTS,
    MINTED,
    TIMEOUT,
    NatsHooks,
    administrator,
    apply,
    client,
    components,
    local_target,
)
from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied, Provider
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.steps import make_ref, make_step


@pytest.fixture
def place(local_servers: LocalServers) -> tuple[Target, dict[str, str]]:
    """The local target and its credentials, its server running."""
    return local_target(local_servers)


@pytest.fixture
async def provider(place: tuple[Target, dict[str, str]]) -> AsyncIterator[NatsProvider]:
    """A provider for the local server."""
    provider = KIND.open(*place)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: NatsProvider) -> AsyncIterator[ComponentRef]:
    """A component of a fresh environment, removed after the test."""
    ref = make_ref("jobs", type="nats.stream")
    yield ref
    await provider.remove(ref, make_step())


class TestStream(NatsHooks, ProviderConformance):
    """What every provider must do."""

    cuts = 15  # nats-py swallows cancellations in places: look closely

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        async def stream_deleted(applied: Applied) -> None:
            async with administrator(self.opened, applied) as connection:
                await connection.jetstream().delete_stream(applied.outputs["stream"])

        async def limit_changed(applied: Applied) -> None:
            async with administrator(self.opened, applied) as connection:
                await connection.jetstream().update_stream(
                    StreamConfig(name=applied.outputs["stream"], subjects=["work.>"], max_bytes=5 << 20)
                )

        async def account_dropped(applied: Applied) -> None:
            await self.opened.reconfigure(lambda accounts: accounts.pop(applied.outputs["account"]))

        return {
            "stream deleted": stream_deleted,
            "limit changed": limit_changed,
            "account dropped": account_dropped,
        }

    def unreachable(self) -> Provider:
        config = self.target.config | {"port": 1}
        return KIND.open(msgspec.structs.replace(self.target, config=config), self.credentials)

    def refused(self) -> Provider:
        return KIND.open(self.target, {**self.credentials, "system_password": "not the right one"})


async def test_accounts_hear_nothing_of_each_other(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as refs:
        mine, theirs = [await apply(provider, ref) for ref in refs]
        async with client(mine) as here, client(theirs) as there:
            heard = await there.subscribe(">")
            await here.jetstream().publish("work.secret", b"mine")
            await there.publish("work.own", b"theirs")  # the later one proves that the earlier did not come
            message = await heard.next_msg(TIMEOUT)
            assert message.subject == "work.own"
            state = (await there.jetstream().stream_info(theirs.outputs["stream"])).state
            assert state.messages == 1, "the same subject in another account is another subject"


async def test_others_stay_connected_over_every_change(provider: NatsProvider) -> None:
    disconnected = asyncio.Event()

    async def on_disconnect() -> None:
        disconnected.set()

    async with components(provider, "calm", "busy") as (calm, busy):
        applied = await apply(provider, calm)
        async with client(applied, disconnected_cb=on_disconnect) as connection:
            subscription, sent = await connection.subscribe("core.>"), 0

            async def change_others() -> None:
                await apply(provider, busy)
                await provider.suspend(busy, make_step())
                await provider.remove(busy, make_step())

            changes = asyncio.ensure_future(change_others())
            while not changes.done():
                sent += 1
                ack = await connection.jetstream().publish("work.x", b"")
                assert ack.seq == sent, "every message is acknowledged, also during a reload"
            await changes
            await apply(provider, calm, max_messages=7)
            await connection.publish("core.still", b"here")
            assert (await subscription.next_msg(TIMEOUT)).data == b"here", "subscriptions outlive a reload"
            assert not disconnected.is_set()


async def test_many_at_once_do_not_trip_over_each_others_reloads(provider: NatsProvider) -> None:
    """A reload throws out whoever is logging in at that moment: no step may take that for a refusal."""
    async with components(provider, *["jobs"] * 12) as refs:
        for applied in await asyncio.gather(*(apply(provider, ref) for ref in refs)):
            async with client(applied) as connection:
                assert (await connection.jetstream().publish("work.x", b"")).seq == 1
        await asyncio.gather(*(provider.remove(ref, make_step()) for ref in refs))
        for ref in refs:
            assert await provider.observe(ref, INPUTS) is None


async def test_suspending_closes_connections_and_keeps_messages(provider: NatsProvider, ref: ComponentRef) -> None:
    applied, closed = await apply(provider, ref), asyncio.Event()

    async def on_close() -> None:
        closed.set()

    async with client(applied, closed_cb=on_close) as connection:
        await connection.jetstream().publish("work.kept", b"1")
        await provider.suspend(ref, make_step())
        await asyncio.wait_for(closed.wait(), TIMEOUT)
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        async with client(applied):
            pass
    observed = await provider.observe(ref, INPUTS)
    assert observed is not None
    assert set(observed.drift) == {"user"}, "suspended by the twin or by somebody else: a reader can tell"
    async with client(await apply(provider, ref)) as connection:
        assert (await connection.jetstream().stream_info("jobs")).state.messages == 1


async def test_an_application_cannot_grow_beyond_its_stream(provider: NatsProvider, ref: ComponentRef) -> None:
    async with client(await apply(provider, ref)) as connection:
        with pytest.raises(APIError, match="maximum number of streams"):
            await connection.jetstream().add_stream(name="more", subjects=["more"])
        denied = asyncio.get_running_loop().create_future()

        async def on_error(error: Exception) -> None:
            denied.set_result(str(error))

        connection._error_cb = on_error
        await connection.publish("$JS.API.STREAM.UPDATE.jobs", b"{}")
        assert "permissions violation" in (await asyncio.wait_for(denied, TIMEOUT)).lower()


async def test_a_dropped_account_comes_back_with_its_messages(provider: NatsProvider, ref: ComponentRef) -> None:
    async with client(await apply(provider, ref)) as connection:
        await connection.jetstream().publish("work.kept", b"1")
    await provider.reconfigure(lambda accounts: accounts.pop(ref.name))
    async with client(await apply(provider, ref)) as connection:
        ack = await connection.jetstream().publish("work.kept", b"2")
        assert ack.seq == 2, "the stream hears again, and holds what it held"


async def test_a_removal_finds_streams_of_an_account_that_somebody_dropped(
    provider: NatsProvider, ref: ComponentRef
) -> None:
    await apply(provider, ref)
    await provider.reconfigure(lambda accounts: accounts.pop(ref.name))
    assert [each.kind async for each in provider.owned(ref.environment)] == ["nats.stream"], "the world still has it"
    await provider.remove(ref, make_step())
    assert [each async for each in provider.owned(ref.environment)] == []
    await apply(provider, ref)
    async with client(await apply(provider, ref)) as connection:
        assert (await connection.jetstream().stream_info("jobs")).state.last_seq == 0, "nothing was left on the disk"


async def test_the_inventory_finds_what_no_record_of_ours_knows(provider: NatsProvider, ref: ComponentRef) -> None:
    other = make_ref("elsewhere")
    applied = await apply(provider, ref)
    async with administrator(provider, applied) as connection:
        metadata = {MARK: other.mark}
        await connection.jetstream().update_stream(StreamConfig(name="jobs", subjects=["work.>"], metadata=metadata))
    await provider.reconfigure(lambda accounts: accounts.update(foreign=Account((), mark=other.mark)))
    try:
        found = {(each.kind, each.external_id) async for each in provider.owned(other.environment)}
        assert found == {("nats.account", "foreign"), ("nats.stream", f"{ref.name}/jobs")}
    finally:
        await provider.reconfigure(lambda accounts: accounts.pop("foreign"))


async def test_what_the_inventory_finds_is_told_with_the_way_to_remove_it(
    provider: NatsProvider, ref: ComponentRef, place: tuple[Target, dict[str, str]]
) -> None:
    await apply(provider, ref)
    stream, account = [each async for each in provider.owned(ref.environment)]
    assert place[1]["admin_password"] not in stream.removal + account.removal
    # The command as it is, but what it logs in with goes to the tests' own client: that may delete the stream.
    script = stream.removal.replace("nats --server", "printf '%s\\n' --server", 1)
    env = {"PATH": os.environ["PATH"], "ADMIN_PASSWORD": place[1]["admin_password"]}
    told = await asyncio.to_thread(
        subprocess.run, script, shell=True, env=env, capture_output=True, text=True, check=True
    )
    _, server, _, user, _, password, *words = told.stdout.splitlines()
    assert words == ["stream", "rm", "--force", "jobs"]
    connection = await nats.connect(server, user=user, password=password)
    assert await connection.jetstream().delete_stream("jobs")
    await connection.close()

    path = place[0].config["accounts_file"]
    copy = Path(path).with_name("copy of the accounts")
    shutil.copy(path, copy)
    try:
        script, _, then = account.removal.partition(" && ")
        command = script.replace(shlex.quote(path), shlex.quote(str(copy)))
        await asyncio.to_thread(subprocess.run, command, shell=True, check=True)
        rest = (await asyncio.to_thread(copy.read_text)).splitlines()
        whole = (await asyncio.to_thread(Path(path).read_text)).splitlines()
        assert rest == [each for each in whole if ref.name not in each]
        assert then == "nats-server --signal reload"
    finally:
        copy.unlink()


async def test_no_password_reaches_the_disk_and_the_mode_stays(
    provider: NatsProvider, ref: ComponentRef, place: tuple[Target, dict[str, str]]
) -> None:
    path = Path(place[0].config["accounts_file"])
    path.chmod(0o640)  # noqa: ASYNC240 - small and local, as everywhere in this test
    await apply(provider, ref)
    text = path.read_text()  # noqa: ASYNC240
    assert MINTED["password"] not in text
    assert provider._client.admin_password(ref.name) not in text
    assert place[1]["admin_password"] not in text
    mode = path.stat().st_mode  # noqa: ASYNC240
    assert mode & 0o777 == 0o640, "the server may run as another user, who must still read it"
    assert not list(path.parent.glob(f".{path.name}.*")), "nothing is left beside it"


async def test_no_room_on_the_server_is_blocked(provider: NatsProvider, ref: ComponentRef) -> None:
    for storage in ("memory", "file"):
        with pytest.raises(Blocked) as caught:
            await apply(provider, ref, storage=storage, max_bytes=1 << 40)
        assert caught.value.key == "nats/local/storage"
    await apply(provider, ref)  # and other sizes still fit


async def test_overlapping_subjects_name_the_field(provider: NatsProvider, ref: ComponentRef) -> None:
    with pytest.raises(Terminal) as caught:
        await apply(provider, ref, subjects=["work.>", "work.a"])
    assert caught.value.field == "subjects"


async def test_a_wrong_system_password_names_the_credentials(place: tuple[Target, dict[str, str]]) -> None:
    target, credentials = place
    with pytest.raises(Blocked) as caught:
        await KIND.open(target, credentials | {"system_password": "wrong"}).identify()
    assert caught.value.key == "nats/local/credentials"
    assert caught.value.owner == "platform"


async def test_a_restart_keeps_identity_messages_and_users(tmp_path: Path) -> None:
    servers, ref = LocalServers(tmp_path), make_ref("jobs")
    try:
        servers.start("nats")
        target, credentials = servers.targets()[0]
        provider = KIND.open(target, credentials)
        before, applied = await provider.identify(), await apply(provider, ref)
        async with client(applied) as connection:
            await connection.jetstream().publish("work.kept", b"1")
        servers.stop("nats")
        with pytest.raises(Transient):
            await apply(provider, ref)
        servers.start("nats")
        assert await provider.identify() == before
        async with client(applied) as connection:
            assert (await connection.jetstream().stream_info("jobs")).state.messages == 1
    finally:
        servers.remove()

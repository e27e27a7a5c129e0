"""Personal access to `nats.stream` on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from providers.local import LocalServers
from providers.nats import KIND
from providers.nats.provider import NatsProvider
from providers.nats.users import personal
from tests.providers.nats_world import MINTED, TIMEOUT, NatsHooks, NatsSession, apply, client, local_target, login
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Member
from twin.testing.conformance.access import AccessConformance
from twin.testing.steps import make_ref, make_step

VERA = Member(name="vera@example.com", role="viewer", secrets={"password": "of-vera-and-long-enough"})
DAN = Member(name="dan@example.com", role="developer", secrets={"password": "of-dan-and-long-enough"})


class TestStreamAccess(NatsHooks, AccessConformance):
    """What every provider must do that grants access."""

    async def enter(self, applied: Applied, secrets: Mapping[str, str]) -> NatsSession:
        return await NatsSession(applied.outputs["stream"]).open(secrets)

    async def trespass(self, applied: Applied, secrets: Mapping[str, str], other: Applied) -> str | None:
        """As the other component's user of the same person; then by the other's stream, from the own account."""
        url = urlsplit(secrets["url"])
        own = url.username or ""
        theirs = own.replace(applied.outputs["account"], other.outputs["account"])
        with pytest.raises(PermissionError):
            await self.enter(other, {"url": secrets["url"].replace(own, theirs)})
        session = await self.enter(other, secrets)
        try:
            return await session.read()
        finally:
            await session.close()


@pytest.fixture
async def provider(local_servers: LocalServers) -> AsyncIterator[NatsProvider]:
    """A provider for the local server."""
    provider = KIND.open(*local_target(local_servers))
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: NatsProvider) -> AsyncIterator[ComponentRef]:
    """A component of a fresh environment, removed after the test."""
    ref = make_ref("jobs", type="nats.stream")
    yield ref
    await provider.remove(ref, make_step())


async def test_a_viewer_hears_and_reads_and_changes_nothing(provider: NatsProvider, ref: ComponentRef) -> None:
    applied = await apply(provider, ref)
    given = await provider.grant(ref, make_step(), (VERA,))
    session = await NatsSession("jobs").open(given[VERA.name])
    viewer, stream = session.connection, session.connection.jetstream()
    try:
        async with client(applied) as application:
            jetstream = application.jetstream()
            heard = await viewer.subscribe("work.>")
            await viewer.flush()
            await jetstream.publish("work.kept", b"1")
            await jetstream.add_consumer("jobs", ConsumerConfig(durable_name="worker"))
            assert (await heard.next_msg(TIMEOUT)).data == b"1"
            assert (await stream.stream_info("jobs")).state.messages == 1
            assert (await stream.get_msg("jobs", 1)).data == b"1"
            assert (await stream.consumer_info("jobs", "worker")).num_pending == 1
            for forbidden in (
                lambda: stream.purge_stream("jobs"),
                lambda: stream.delete_msg("jobs", 1),
                lambda: stream.delete_stream("jobs"),
                lambda: stream.update_stream(name="jobs", subjects=["elsewhere"]),
                lambda: stream.add_stream(name="another", subjects=["another"]),
                lambda: stream.add_consumer("jobs", ConsumerConfig(deliver_subject="work.forged")),
                lambda: stream.add_consumer("jobs", ConsumerConfig(durable_name="worker", filter_subject="none")),
                lambda: stream.delete_consumer("jobs", "worker"),
                lambda: viewer.request("$JS.API.CONSUMER.MSG.NEXT.jobs.worker", b"1"),
                lambda: viewer.request("$JS.ACK.jobs.worker.1.1.1.0.0", b"+ACK"),
                lambda: viewer.request("work.elsewhere", b""),
            ):
                await session.refused(forbidden())
            assert (await jetstream.consumer_info("jobs", "worker")).num_pending == 1
            assert (await jetstream.stream_info("jobs")).state.messages == 1
    finally:
        await session.close()


async def test_a_viewer_takes_no_message_out_of_a_queue_group(provider: NatsProvider, ref: ComponentRef) -> None:
    applied = await apply(provider, ref)
    given = await provider.grant(ref, make_step(), (VERA,))
    denied = asyncio.Event()

    async def on_error(error: Exception) -> None:
        denied.set()

    async with client(applied) as application, login(given[VERA.name], error_cb=on_error) as viewer:
        worker = await application.subscribe("rpc.>", queue="workers")

        async def taken(message: Msg) -> None:
            raise AssertionError("a viewer took a message out of the queue")

        await viewer.subscribe("rpc.>", queue="workers", cb=taken)
        async with asyncio.timeout(TIMEOUT):
            await denied.wait()
        for number in range(20):
            await application.publish(f"rpc.{number}", b"")
        for number in range(20):
            assert (await worker.next_msg(TIMEOUT)).subject == f"rpc.{number}"


async def test_what_the_file_says_of_members_is_a_name_and_a_hash(
    provider: NatsProvider, ref: ComponentRef, local_servers: LocalServers
) -> None:
    await apply(provider, ref)
    await provider.grant(ref, make_step(), (VERA, DAN))
    path = Path(local_target(local_servers)[0].config["accounts_file"])
    text = path.read_text()  # noqa: ASYNC240 - small and local
    for member in (VERA, DAN):
        assert personal(ref.name, member.name) in text
        assert member.secrets["password"] not in text
    assert "vera-example-com" in text, "who looks into the server's list of connections can tell people apart"


async def test_granting_while_it_is_suspended_lets_nobody_in(provider: NatsProvider, ref: ComponentRef) -> None:
    applied = await apply(provider, ref)
    await provider.suspend(ref, make_step({"subjects": ["work.>"]}, MINTED))
    given = await provider.grant(ref, make_step(), (DAN,))
    for secrets in (given[DAN.name], applied.secrets):
        with pytest.raises(PermissionError):
            await NatsSession("jobs").open(secrets)
    await apply(provider, ref)
    with pytest.raises(PermissionError):
        await NatsSession("jobs").open(given[DAN.name])
    await provider.grant(ref, make_step(), (DAN,))
    async with login(given[DAN.name]):
        pass

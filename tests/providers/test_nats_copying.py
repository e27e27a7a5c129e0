"""A stream becomes a copy of another one, on a real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress

import nats.errors
import pytest
from msgspec import structs
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from providers.local import LocalServers
from providers.nats import KIND
from providers.nats.copying import MESSAGES_AT_ONCE
from providers.nats.headers import Headers
from providers.nats.provider import NatsProvider
from tests.providers.nats_world import (
    NatsHooks,
    administrator,
    apply,
    client,
    components,
    local_target,
    login,
    persistent,
)
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied, Source
from twin.testing.conformance.copying import CopyConformance
from twin.testing.steps import make_step

STEP = make_step({"subjects": ["work.>"], "max_bytes": 1 << 20})

KEPT = [0, 1, 2, 100, 300, 302, 399]

Opened = tuple[Target, dict[str, str]]


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Another server."""
    servers = LocalServers(tmp_path_factory.mktemp("second"))
    yield local_target(servers)
    servers.remove()


class TestStreamCopies(NatsHooks, CopyConformance):
    """What every provider must do that copies."""

    copy_cuts = 4
    reload_grace = 60  # the source's clients log in while the copy's account is made

    @pytest.fixture(autouse=True)
    def _second(self, second: Opened) -> None:
        self.second = second

    def elsewhere(self) -> NatsProvider:
        return KIND.open(*self.second)

    async def fill(self, applied: Applied, values: Sequence[str]) -> None:
        async with persistent(applied) as connection:
            for value in values:
                await connection.jetstream().publish("work.kept", value.encode())

    async def values(self, applied: Applied) -> list[str]:
        async with client(applied) as connection:
            jetstream, stream = connection.jetstream(), applied.outputs["stream"]
            state = (await jetstream.stream_info(stream)).state
            found = []
            for number in range(state.first_seq, state.last_seq + 1) if state.messages else ():
                with suppress(NotFoundError):  # `use` takes away again what it wrote
                    found.append(((await jetstream.get_msg(stream, number)).data or b"").decode())
            return found

    async def enterable(self, ref: ComponentRef, source: Applied) -> bool:
        """As the application that it will be, with the source's password; and as the source's own."""
        user = source.outputs["user"].replace(source.outputs["account"], ref.name)
        at = f"nats://{source.outputs['host']}:{source.outputs['port']}"
        for name in (user, ref.name):
            try:
                async with login({"url": at}, user=name, password=source.secrets["password"]):
                    return True
            except nats.errors.Error as error:
                if "authorization violation" not in str(error).lower():
                    raise
        return False


def source_of(provider: NatsProvider, ref: ComponentRef) -> Source:
    return Source(ref=ref, provider=provider, inputs={}, mode="full")


@pytest.fixture
async def provider(local_servers: LocalServers) -> AsyncIterator[NatsProvider]:
    """A provider for the local server."""
    opened = KIND.open(*local_target(local_servers))
    yield opened
    await opened.close()


async def test_headers_subjects_and_gaps_are_copied_in_order(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        async with client(applied) as connection:
            jetstream = connection.jetstream()
            for number in range(1200):
                headers = {"Nats-Msg-Id": f"id-{number}", "Trace": f"t-{number}"}
                await jetstream.publish(f"work.{number % 3}", str(number).encode(), headers=headers)
        async with administrator(provider, applied) as admin:
            for number in (1, 2, 700):
                await admin.jetstream().delete_msg("jobs", number)
            await admin.jetstream().publish("work.same", b"twice", headers={"Nats-Msg-Id": "gone-by"})
        seeded = await provider.seed(copy, STEP, source_of(provider, origin))
        assert (seeded.rows, seeded.point) == (1198, "jobs@1201")
        taken = await apply(provider, copy)
        async with client(taken) as connection:
            jetstream = connection.jetstream()
            first, last = await jetstream.get_msg("jobs", 1), await jetstream.get_msg("jobs", 1197)
            assert (first.data, first.subject, first.headers) == (b"2", "work.2", {"Trace": "t-2"})
            assert (last.data, last.subject) == (b"1199", "work.2")


async def test_the_consumers_of_a_work_queue_are_not_disturbed(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        inputs = {"retention": "workqueue"}
        applied = await apply(provider, origin, **inputs)
        async with client(applied) as connection:
            jetstream = connection.jetstream()
            for number in range(5):
                await jetstream.publish("work.do", str(number).encode())
            mine = await jetstream.pull_subscribe("work.>", "worker", config=ConsumerConfig(ack_wait=60))
            (taken,) = await mine.fetch(1, timeout=5)
            step = make_step({"subjects": ["work.>"], "max_bytes": 1 << 20, **inputs})
            seeded = await provider.seed(copy, step, source_of(provider, origin))
            assert seeded.rows == 5, "what is handed out and not acknowledged is still owed"
            await taken.ack()
            rest = await mine.fetch(4, timeout=5)
            assert [each.data for each in rest] == [b"1", b"2", b"3", b"4"], "none was taken away, none comes twice"
            assert (await jetstream.stream_info("jobs")).state.consumer_count == 1


async def test_what_the_copys_subjects_do_not_take_is_named(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        async with client(applied) as connection:
            await connection.jetstream().publish("work.odd", b"1")
        step = make_step({"subjects": ["work.even"], "max_bytes": 1 << 20})
        with pytest.raises(Terminal, match=r"work\.odd") as refused:
            await provider.seed(copy, step, source_of(provider, origin))
        assert refused.value.field == "subjects"


async def test_what_an_interest_stream_holds_is_for_consumers_that_are_not_copied(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        await apply(provider, origin, retention="interest")
        step = make_step({"subjects": ["work.>"], "max_bytes": 1 << 20, "retention": "interest"})
        assert (await provider.seed(copy, step, source_of(provider, origin))).rows == 0
        await apply(provider, copy, retention="interest")


async def test_headers_are_copied_byte_by_byte(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        given = Headers([("Trace", "Grüße"), ("trace", "b: c"), ("Trace", "again")])
        async with client(applied) as connection:
            await connection.jetstream().publish("work.x", b"", headers=given)
            origin_has = await connection.jetstream().get_msg("jobs", 1)
        await provider.seed(copy, STEP, source_of(provider, origin))
        async with client(await apply(provider, copy)) as connection:
            copied = await connection.jetstream().get_msg("jobs", 1)
        assert copied.hdrs == origin_has.hdrs
        assert base64.b64decode(copied.hdrs or b"").decode() == (
            "NATS/1.0\r\nTrace: Grüße\r\ntrace: b: c\r\nTrace: again\r\n\r\n"
        )


async def test_what_was_purged_is_passed_over(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        async with client(applied) as connection:
            jetstream = connection.jetstream()
            for number in range(400):
                await jetstream.publish("work.keep" if number in KEPT else "work.drop", str(number).encode())
        async with administrator(provider, applied) as admin:
            await admin.jetstream().purge_stream("jobs", subject="work.drop")
        seeded = await provider.seed(copy, STEP, source_of(provider, origin))
        assert (seeded.rows, seeded.point) == (len(KEPT), "jobs@400")
        async with client(await apply(provider, copy)) as connection:
            found = [await connection.jetstream().get_msg("jobs", n + 1) for n in range(len(KEPT))]
        assert [int(each.data or b"") for each in found] == KEPT


async def test_an_attempt_that_was_given_up_changes_nothing_any_more(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        async with client(applied) as connection:
            for number in range(MESSAGES_AT_ONCE + 10):
                await connection.jetstream().publish("work.x", str(number).encode())
        stands, goes_on = asyncio.Event(), asyncio.Event()

        async def stand_still(progress: str) -> None:
            stands.set()
            await goes_on.wait()

        zombie = asyncio.create_task(
            provider.seed(copy, structs.replace(STEP, heartbeat=stand_still), source_of(provider, origin))
        )
        await stands.wait()
        seeded = await provider.seed(copy, STEP, source_of(provider, origin))
        async with client(await apply(provider, copy)) as connection:
            await connection.jetstream().publish("work.x", b"of the clone")
            goes_on.set()
            with pytest.raises(Transient, match="another attempt"):
                await zombie
            state = (await connection.jetstream().stream_info("jobs")).state
            assert (state.messages, state.last_seq) == (seeded.rows + 1, seeded.rows + 1)
        assert await provider.seed(copy, STEP, source_of(provider, origin)) == seeded


async def test_what_is_in_use_is_left_alone(provider: NatsProvider) -> None:
    async with components(provider, "jobs", "jobs") as (origin, used):
        await apply(provider, origin)
        applied = await apply(provider, used)
        async with client(applied) as connection:
            await connection.jetstream().publish("work.x", b"precious")
            with pytest.raises(Transient, match="in use"):
                await provider.seed(used, STEP, source_of(provider, origin))
            assert (await connection.jetstream().get_msg("jobs", 1)).data == b"precious"


@pytest.mark.parametrize(("field", "bound"), [("max_messages", 2), ("max_bytes", 1 << 16)])
async def test_a_copy_with_too_little_room_says_which(provider: NatsProvider, field: str, bound: int) -> None:
    async with components(provider, "jobs", "jobs") as (origin, copy):
        applied = await apply(provider, origin)
        async with client(applied) as connection:
            for _ in range(3):
                await connection.jetstream().publish("work.x", bytes(30_000))
        step = make_step({"subjects": ["work.>"], "max_bytes": 1 << 20, "discard": "new", field: bound})
        with pytest.raises(Terminal) as refused:
            await provider.seed(copy, step, source_of(provider, origin))
        assert refused.value.field == field

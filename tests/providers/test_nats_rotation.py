"""Two credentials of one stream side by side, on a real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import nats.errors
import pytest

from providers.local import LocalServers
from providers.nats import KIND, users
from providers.nats.accounts import Account
from providers.nats.provider import NatsProvider
from tests.providers.nats_world import INPUTS, TIMEOUT, NatsHooks, client, components, local_target, persistent
from twin.domain.errors import Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, StepContext
from twin.testing.conformance.rotation import RotationConformance
from twin.testing.steps import make_ref, make_step


class TestStreamRotation(NatsHooks, RotationConformance):
    """What every provider must do that rotates credentials."""

    reload_grace = 60

    def is_refusal(self, error: Exception) -> bool:
        return "authorization violation" in str(error).lower()

    @asynccontextmanager
    async def session(self, applied: Applied) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        async with persistent(applied) as connection:
            yield partial(connection.flush, TIMEOUT)


PASSWORDS = {n: {"password": f"minted-for-version-{n}-and-long"} for n in range(1, 9)}


@pytest.fixture
async def provider(local_servers: LocalServers) -> AsyncIterator[NatsProvider]:
    """A provider for the local server."""
    provider = KIND.open(*local_target(local_servers, reload_grace=60))
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: NatsProvider) -> AsyncIterator[ComponentRef]:
    """A component of a fresh environment, removed after the test."""
    ref = make_ref("jobs", type="nats.stream")
    yield ref
    await provider.remove(ref, make_step())


def live(*versions: int) -> StepContext:
    """A step while these versions are live."""
    credentials = {version: PASSWORDS[version] for version in versions}
    return make_step(INPUTS, credentials[max(versions)], credentials=credentials)


async def test_a_component_of_before_rotation_keeps_its_user_until_that_is_retired(
    provider: NatsProvider, ref: ComponentRef
) -> None:
    first = await provider.apply(ref, make_step(INPUTS, PASSWORDS[1]))  # no versions: as it was always called
    assert first.outputs["user"] == ref.name
    second = await provider.issue(ref, live(1, 2))
    assert second.outputs["user"] != ref.name
    observed = await provider.observe(ref, INPUTS)
    assert observed is not None
    assert observed.outputs == second.outputs, "the newest login is the component's"
    for applied in (first, second):
        async with client(applied) as connection:
            await connection.jetstream().publish("work.x", b"")
    await provider.retire(ref, live(2), 1, PASSWORDS[1])
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        async with client(first):
            pass
    assert (await provider.apply(ref, live(2))).outputs == second.outputs
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        async with client(first):
            pass


async def test_retiring_is_not_believed_before_the_server_refuses(provider: NatsProvider, ref: ComponentRef) -> None:
    """Somebody keeps the old user in the server's configuration, beside the twin's file."""
    await provider.apply(ref, live(1))
    await provider.issue(ref, live(1, 2))
    hashed = users.with_hash(users.application(ref.name, 1), PASSWORDS[1]["password"], None)

    def keep(accounts: dict[str, Account]) -> None:
        accounts[ref.name] = Account((*accounts[ref.name].users[:1], hashed), mark=ref.mark)

    elsewhere = make_ref("jobs", type="nats.stream")  # an account that is not there: only the proof is left
    await provider.reconfigure(keep)
    with pytest.raises(Transient, match="still takes"):
        await provider._client.check_refused(hashed.user, PASSWORDS[1]["password"])
    await provider.retire(elsewhere, live(2), 1, PASSWORDS[1])


class Returning:
    """A client that logs in again and again with the current URL, and counts how it fared."""

    def __init__(self, applied: Applied) -> None:
        self.applied = applied
        self.outcomes = Counter[str]()
        self.done = False
        self._in: asyncio.Queue[Applied] = asyncio.Queue()

    async def run(self) -> None:
        """Until `done`."""
        while not self.done:
            applied = self.applied
            try:
                async with client(applied) as connection:
                    await connection.jetstream().publish("work.x", b"")
                self.outcomes["in"] += 1
                self._in.put_nowait(applied)
            except OSError:  # the connection was lost, as the network loses them: clients try again
                self.outcomes["lost"] += 1
            except nats.errors.Error as error:
                self.outcomes[str(error)] += 1

    async def move(self, applied: Applied) -> None:
        """Take another URL; returns when it was used, and so no other is any more."""
        self.applied = applied
        async with asyncio.timeout(TIMEOUT):
            while await self._in.get() is not applied:
                pass


async def test_nobody_who_logs_in_is_refused_over_whole_rotations(provider: NatsProvider, ref: ComponentRef) -> None:
    """A reload throws out who is logging in, unless he is given the time; neighbours are not refused either."""
    disconnected = asyncio.Event()

    async def on_disconnect() -> None:
        disconnected.set()

    async with components(provider, "calm") as (calm,):
        neighbour = Returning(await provider.apply(calm, live(1)))
        mine = Returning(await provider.apply(ref, live(1)))
        async with client(neighbour.applied, disconnected_cb=on_disconnect):
            loops = [asyncio.ensure_future(each.run()) for each in (mine, neighbour)]
            for version in range(1, 7):
                await mine.move(await provider.issue(ref, live(version, version + 1)))
                await provider.retire(ref, live(version + 1), version, PASSWORDS[version])
            mine.done = neighbour.done = True
            await asyncio.gather(*loops)
            assert not disconnected.is_set(), "who is connected stays so"
        for each in (mine, neighbour):
            assert not [what for what in each.outcomes if "uthoriz" in what], each.outcomes
            assert each.outcomes["in"] > 20

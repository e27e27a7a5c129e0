"""The heartbeat: beats while the loop moves, and is silent while it stands still."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.waiting import eventually, soon
from twin.domain.errors import Unavailable
from twin.engine.embedded.heartbeat import Heartbeat

LEASE = 0.15


class Beats:
    """When the heart beat; `refuses` is how many beats the database refuses first."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.refuses = 0

    def __call__(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise Unavailable("the disk is full")
        self.at.append(time.monotonic())

    async def more(self) -> bool:
        """Whether it beats from now on."""
        before = len(self.at)

        async def beaten() -> bool:
            return len(self.at) > before + 1

        return await soon(beaten)

    def silent(self) -> bool:
        """Whether a lease has passed without a beat."""
        return bool(self.at) and time.monotonic() - self.at[-1] > LEASE


@pytest.fixture
async def beats() -> AsyncIterator[Beats]:
    beats = Beats()
    heartbeat = Heartbeat(beats, LEASE)
    heartbeat.start()
    yield beats
    heartbeat.stop()
    ended = len(beats.at)
    assert len(beats.at) == ended, "its thread has ended"


async def test_it_is_silent_while_the_loop_stands_still_and_goes_on_with_it(beats: Beats) -> None:
    assert await beats.more()
    eventually(beats.silent)  # this blocks the loop, as a worker does that was stopped or swapped out
    assert await beats.more()


async def test_a_database_that_refuses_does_not_end_it(beats: Beats) -> None:
    beats.refuses = 2
    assert await beats.more()

"""What the forge delivers: late, twice, in another order, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from twin.domain.errors import Problem
from twin.ports.deliveries import Comment, News, Nothing
from twin.service.inboxes import Delivered
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.pulls.truth import HOST, TARGET, Key
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.virtual_loop import spawn

if TYPE_CHECKING:
    from twin.testing.simulator.process import Process


class Hook(Struct, frozen=True):
    """What a delivery says."""

    what: str
    repository: str
    number: int
    comment: Comment | None = None


class Mail:
    """`processes`: one that answers, or does not."""

    def __init__(self, processes: Callable[[], Process], fate: Fate, journal: Journal) -> None:
        self._process = processes
        self._fate = fate
        self._journal = journal
        self._count = 0

    def post(self, key: Key, what: str, comment: Comment | None = None) -> None:
        """Something happened."""
        self._count += 1
        if self._fate.strikes("mail", 0.15):
            self._journal.note("a delivery is lost", f"{what} of {key[1]}")
            return
        hook = Hook(what, key[0], key[1], comment)
        delivered = Delivered(
            target=TARGET, id=f"delivery-{self._count}", event="hook", headers={}, body=msgspec.json.encode(hook)
        )
        self._send(delivered)
        if self._fate.strikes("mail", 0.15):
            self._journal.note("a delivery comes twice", delivered.id)
            self._send(delivered)

    def _send(self, delivered: Delivered) -> None:
        wait = self._fate.latency()
        if self._fate.strikes("mail", 0.3):
            wait = self._fate.random.choice((2.0, 60.0, 900.0, 20_000.0)) * self._fate.random.random()
        asyncio.get_running_loop().call_later(wait, self._arrives, delivered)

    def _arrives(self, delivered: Delivered) -> None:
        process = self._process()
        spawn(process.tasks, self._take(process, delivered))

    async def _take(self, process: Process, delivered: Delivered) -> None:
        try:
            await process.works.inboxes.take(delivered)
        except Problem:  # the forge is told so, and does not care
            self._journal.note("a delivery is not taken", delivered.id)


def translate(event: str, headers: Mapping[str, str], body: bytes) -> News | Nothing:
    """See `twin.ports.deliveries.Translates`."""
    hook = msgspec.json.decode(body, type=Hook)
    return News(what=hook.what, hosts=(HOST,), repository=hook.repository, number=hook.number, comment=hook.comment)

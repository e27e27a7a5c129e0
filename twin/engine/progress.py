"""What a step says of how far it is, on its way to people: the latest, seldom, in one line, and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from twin.domain.errors import Unavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

FIRST = 0.3
"""Seconds before something is written: a step that has ended by then costs nothing."""

EVERY = 1.0
"""Seconds between two writes."""

LONGEST = 200
"""Characters that are kept of what is said."""


class Progress:
    """Of one attempt. `keep` writes a text down where people see it and says whether the attempt is still the one that
    may; `mask` covers secrets. What is said between two writes is overtaken by what is said last."""

    def __init__(self, keep: Callable[[str], Awaitable[bool]], mask: Callable[[str], str]) -> None:
        self._keep = keep
        self._mask = mask
        self._said: str | None = None
        self._kept: str | None = None
        self._over = False
        self._writing: asyncio.Task[None] | None = None

    def tell(self, text: str) -> None:
        """Say it. Costs next to nothing, waits for nothing, raises nothing."""
        self._said = text
        if self._writing is None and not self._over:
            self._writing = asyncio.create_task(self._write(), name="progress")

    async def close(self) -> None:
        """The attempt has ended: nothing more is written."""
        self._over = True
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        """Write what was said last, until that is written."""
        await asyncio.sleep(FIRST)
        try:
            while self._said is not None and self._said != self._kept and not self._over:
                await self._write_one(self._said)
                await asyncio.sleep(EVERY)
        except Exception:  # the step goes on without a voice
            self._over = True
            log.exception("progress cannot be written")
        finally:
            self._writing = None

    async def _write_one(self, said: str) -> None:
        text = shown(self._mask(said))
        try:
            self._over = not await self._keep(text)
            self._kept = said
        except Unavailable as refusal:  # said again with the next
            log.debug("progress not written", problem=refusal.message)


def shown(text: str) -> str:
    """One line that a terminal shows as it is, no longer than LONGEST."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

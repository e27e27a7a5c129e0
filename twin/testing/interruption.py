"""Cutting a coroutine short at a chosen point, as a cancelled or lost worker does."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Suspensions(Struct):
    """How often a coroutine has given control back to the event loop."""

    count: int = 0


async def counted(work: Coroutine[Any, Any, T], suspensions: Suspensions) -> T:
    """Run `work`, counting its suspensions: the points at which it can be cut."""
    return await _watched(work, suspensions, cut_at=None)


async def cut_short(work: Coroutine[Any, Any, T], at: int) -> bool:
    """Run `work` and cancel it at its `at`-th suspension (from 1); whether that point was reached.

    Raises AssertionError if `work` swallows the cancellation, and what `work` itself raises before the cut.
    """
    suspensions = Suspensions()
    task = asyncio.ensure_future(_run(work, suspensions, at))
    await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    if suspensions.count >= at:
        raise AssertionError(f"The cancellation at suspension {at} was swallowed.")
    return False


def spread(total: int, points: int) -> tuple[int, ...]:
    """At most `points` numbers from 1 to `total`, evenly spread, with the first and the last."""
    if total <= points:
        return tuple(range(1, total + 1))
    return tuple(sorted({1 + round(step * (total - 1) / (points - 1)) for step in range(points)}))


async def _run(work: Coroutine[Any, Any, T], suspensions: Suspensions, at: int) -> T:
    return await _watched(work, suspensions, cut_at=at)


@types.coroutine
def _watched(work: Coroutine[Any, Any, T], suspensions: Suspensions, cut_at: int | None) -> Generator[Any, Any, T]:
    """Pass everything between `work` and the event loop, and cancel the running task at the chosen suspension.

    It is a true cancellation: the task sees the future that `work` waits for and cancels it, and `work` may clean up.
    """
    error: BaseException | None = None
    while True:
        try:
            waiting = work.send(None) if error is None else work.throw(error)
        except StopIteration as ended:
            result: T = ended.value
            return result
        suspensions.count += 1
        if suspensions.count == cut_at:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            error = None
            yield waiting
        except BaseException as raised:  # handed on to `work`, whatever it is
            error = raised

"""Waiting for what comes by itself: the only place in the tests where time passes without a reason of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def eventually(look: Callable[[], T], *, within: float = 30.0, why: Callable[[], object] = lambda: "") -> T:
    """The first true answer of `look`; AssertionError with `why` when there is none in `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {why()}"
        time.sleep(_PAUSE)
    return answer


async def soon(look: Callable[[], Awaitable[T]], *, within: float = 10.0, why: Callable[[], object] = lambda: "") -> T:
    """`eventually` inside of an event loop."""
    deadline = time.monotonic() + within
    while not (answer := await look()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {why()}"
        await asyncio.sleep(_PAUSE)
    return answer

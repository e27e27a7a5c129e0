"""Committing what an errand changes, with what refuses it told as an errand's failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twin.domain.errors import Problem, Terminal, Transient, Unavailable
from twin.domain.quotas import QuotaReached
from twin.ports.store import Store, Tx

T = TypeVar("T")


async def committed(store: Store, fn: Callable[[Tx], T]) -> T:
    """What `fn` returned, once it is committed. Raises `Transient` if the database refuses, `Terminal` if the domain
    does; but for `QuotaReached`, which passes."""
    try:
        return await store.transact(fn)
    except Unavailable as refusal:
        raise Transient(refusal.message) from None
    except QuotaReached:
        raise
    except Problem as problem:
        raise Terminal(problem.message, field=problem.field, mend=problem.mend) from None

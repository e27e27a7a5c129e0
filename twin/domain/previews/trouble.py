"""What goes wrong when a forge is asked or told something, and when that is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from twin.domain.decider import Context, backoff
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient
from twin.domain.quotas import QuotaReached

SLOWEST = 15 * 60.0
"""Seconds between two attempts at what keeps failing: nothing accepted is dropped, and nobody is flooded."""

LOOKS_AGAIN = 5 * 60.0
"""Seconds after which what waits for room looks for it by itself."""


class TaskFailed(Struct, frozen=True, kw_only=True):
    """Input to both kinds of entity: the task could not be done. `retry_after` is in seconds.

    queued: there is no room now; whatever makes some resolves `block`. `about`: what was attempted (`Wish.digest`,
    `Publication.digest`); None if whoever says it does not know.
    """

    task: str
    kind: Literal["transient", "blocked", "terminal", "queued"]
    message: str
    about: str | None = None
    retry_after: float | None = None
    block: str | None = None
    owner: str | None = None
    mend: str | None = None


class Trouble(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task waits. transient: until `next_at`. blocked: until its block is resolved. terminal: until something
    else is wanted, or somebody asks for it anew. queued: until its block is resolved, and at `next_at`, should that be
    missed; what else is wanted does not wait. `asked`: whoever was asked has named `next_at`, and is left in peace."""

    kind: Literal["transient", "blocked", "terminal", "queued"]
    message: str
    attempt: int
    at: datetime
    about: str | None = None
    next_at: datetime | None = None
    block: str | None = None
    owner: str | None = None
    mend: str | None = None
    asked: bool = False


def no_room(task: str, reached: QuotaReached, about: str | None) -> TaskFailed:
    """A quota that is reached as an input: the errand waits, which is no failure."""
    return TaskFailed(
        task=task,
        kind="queued",
        message=reached.message,
        about=about,
        block=reached.block,
        owner="platform",
        mend=reached.mend,
    )


def task_failed(task: str, failure: StepFailure, about: str | None = None) -> TaskFailed:
    """A failure of an errand as the input that tells of it."""
    match failure:
        case Blocked(message=message, key=key, owner=owner, mend=mend):
            return TaskFailed(
                task=task, kind="blocked", message=message, about=about, block=key, owner=owner, mend=mend
            )
        case Terminal(message=message, mend=mend):
            return TaskFailed(task=task, kind="terminal", message=message, about=about, mend=mend)
        case Transient(message=message, retry_after=wait):
            seconds = wait.total_seconds() if wait is not None else None
            return TaskFailed(task=task, kind="transient", message=message, about=about, retry_after=seconds)
        case _:
            return TaskFailed(task=task, kind="transient", message=failure.message, about=about)


def trouble(before: Trouble | None, failed: TaskFailed, context: Context, *, final: bool) -> Trouble:
    """What follows from a failure. `final`: a terminal one is suppressed; otherwise it is tried again, slowly, as what
    it is about may change without anybody telling us."""
    again = before is not None and before.about == failed.about
    attempt = before.attempt + 1 if before is not None and again else 1
    kind = failed.kind
    if kind == "terminal" and (not final or failed.about is None):
        kind = "transient"
    next_at = None
    if kind == "transient":
        wait = backoff(attempt, context.jitter, cap=SLOWEST)
        if failed.kind == "terminal":
            wait = timedelta(seconds=SLOWEST)
        if failed.retry_after is not None:
            wait = timedelta(seconds=failed.retry_after)
        next_at = context.now + wait
    elif kind == "queued":
        next_at = context.now + timedelta(seconds=LOOKS_AGAIN)
    return Trouble(
        kind=kind,
        message=failed.message,
        attempt=attempt,
        at=context.now,
        about=failed.about,
        next_at=next_at,
        block=failed.block if kind in ("blocked", "queued") else None,
        owner=failed.owner,
        mend=failed.mend,
        asked=failed.retry_after is not None,
    )

"""The call to the provider: one verb, under a deadline, and what came of it as a Result."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from twin.domain.disguises import disguises
from twin.domain.environment import Environment
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient, Unavailable, Unreadable
from twin.domain.identity import ComponentRef, Placement
from twin.domain.steps import (
    Copied,
    FailedBlocked,
    FailedTerminal,
    FailedTransient,
    Found,
    Looked,
    Result,
    Stopped,
    Succeeded,
    Swept,
)
from twin.engine.attempts import Attempt
from twin.engine.placing import check
from twin.engine.seeds import copier, source_of
from twin.ports.provider import Applied, Drains, GrantsAccess, Provider, RotatesCredentials, StepContext, Suspends
from twin.ports.targets import OpenTargets

log: FilteringBoundLogger = structlog.get_logger(__name__)

NEED_SECRETS = frozenset({"apply", "issue", "retire", "grant"})
"""The verbs that cannot do without the component's secrets."""


class Library(Struct, frozen=True):
    """What a call may look up: bundles by digest, and other environments as they are now; and to whom it tells its
    progress."""

    bundle: Callable[[str], Awaitable[bytes]]
    environment: Callable[[str], Awaitable[Environment | None]]
    tell: Callable[[str], None]


async def call(
    attempt: Attempt, targets: OpenTargets, library: Library, now: datetime
) -> tuple[Result, dict[str, str]]:
    """Do it. Returns the result and the secrets that came back; never raises but for cancellation."""
    mask = Mask(attempt, targets)
    # No longer than was given, should the clock have been set back meanwhile.
    seconds = max(0.001, (attempt.deadline - max(now, attempt.running.started_at)).total_seconds())
    reached = False
    try:
        async with asyncio.timeout(seconds):
            if attempt.secrets.unreadable is not None and attempt.key.verb in NEED_SECRETS:
                raise attempt.secrets.unreadable
            provider = await targets.provider(attempt.running.target)
            here = await arrive(attempt, provider)
            reached = True
            return await _verb(attempt, provider, here, targets, library, mask)
    except Exception as error:
        return failed(error, attempt, mask, seconds, reached=reached), {}


async def arrive(attempt: Attempt, provider: Provider) -> Placement:
    """Where we are, if that is where the component was put."""
    found = await provider.identify()
    here = Placement(attempt.running.target, attempt.configured.endpoint, found.identity)
    check(attempt.placement, here)
    return here


async def _verb(
    attempt: Attempt, provider: Provider, here: Placement, targets: OpenTargets, library: Library, mask: Mask
) -> tuple[Result, dict[str, str]]:
    ref = attempt.ref
    match attempt.key.verb:
        case "sweep":
            found = [each async for each in provider.owned(attempt.env.id)]
            left = tuple(Found(each.kind, each.external_id, mask(each.detail), mask(each.removal)) for each in found)
            return Swept(placement=here, found=left), {}
        case "observe":
            seen = await provider.observe(ref, attempt.inputs())
            drift = {} if seen is None else {name: mask(text) for name, text in seen.drift.items()}
            return Looked(present=seen is not None, drift=drift), {}
        case "remove":
            await provider.remove(ref, context(attempt, library))
            return Succeeded(placement=here), {}
        case "suspend":
            if isinstance(provider, Suspends):
                await provider.suspend(ref, context(attempt, library))
            return Succeeded(placement=here), {}
        case "drain":
            if not isinstance(provider, Drains):
                raise Terminal(f"program error in the provider: {ref.type} leaves what lingers and cannot end it")
            await provider.drain(ref, context(attempt, library))
            return Succeeded(placement=here), {}
        case "seed":
            source = await source_of(attempt, targets, library.environment, library.bundle)
            seeded = await copier(provider, ref.type).seed(ref, context(attempt, library), source)
            return Succeeded(placement=here, copied=Copied(seeded.rows, seeded.bytes, mask(seeded.point))), {}
        case "issue":
            issued = await _rotating(provider, ref).issue(ref, context(attempt, library))
            return _applied(here, issued), {**attempt.secrets.own, **issued.secrets}
        case "retire":
            old = attempt.secrets.retired
            await _rotating(provider, ref).retire(ref, context(attempt, library), int(attempt.key.digest), old)
            return Succeeded(placement=here), {}
        case "grant":
            return Succeeded(placement=here), await _grant(attempt, provider, library)
        case "apply":
            given = context(attempt, library)
            # The attempt before this one died: what stands there already is found, and adopted by the same name.
            adopted = attempt.unknown and await provider.observe(ref, given.inputs) is not None
            applied = await provider.apply(ref, given)
            return replace(_applied(here, applied), adopted=adopted), {**attempt.secrets.own, **applied.secrets}


def _applied(here: Placement, applied: Applied) -> Succeeded:
    return Succeeded(placement=here, external_id=applied.external_id, outputs=applied.outputs, lingers=applied.lingers)


def _rotating(provider: Provider, ref: ComponentRef) -> RotatesCredentials:
    if isinstance(provider, RotatesCredentials):
        return provider
    raise Terminal(f"program error in the provider: {ref.type} promises to rotate credentials and cannot")


async def _grant(attempt: Attempt, provider: Provider, library: Library) -> dict[str, str]:
    """Each member's secrets, by `member/name`, with those that were minted."""
    if not isinstance(provider, GrantsAccess):
        raise Terminal(f"program error in the provider: {attempt.ref.type} promises to grant access and cannot")
    people = attempt.secrets.members
    given = await provider.grant(attempt.ref, context(attempt, library), people)
    return {
        f"{person.name}/{name}": value
        for person in people
        for name, value in {**person.secrets, **given.get(person.name, {})}.items()
    }


def context(attempt: Attempt, library: Library) -> StepContext:
    """What the provider is given."""
    bundle = attempt.bundle
    bound = log.bind(step=str(attempt.key), environment=attempt.env.id, attempt=attempt.running.attempt)

    async def heartbeat(progress: str) -> None:
        await asyncio.sleep(0)  # a place to be cancelled at, should the step not be wanted any more
        library.tell(progress)

    async def read() -> bytes:
        return await library.bundle(bundle or "")

    return StepContext(
        inputs=attempt.inputs(),
        secrets=attempt.secrets.own,
        credentials=attempt.secrets.credentials,
        granted=frozenset(value for values in attempt.secrets.granted.values() for value in values.values()),
        # Without the epoch: a zombie and its successor collide harmlessly at the provider.
        idempotency_key=f"{attempt.env.id}:{attempt.key}",
        attempt=attempt.running.attempt,
        deadline=attempt.deadline,
        heartbeat=heartbeat,
        log=bound,
        used=attempt.used,
        bundle=bundle,
        read_bundle=read if bundle is not None else None,
    )


def failed(
    error: Exception, attempt: Attempt, mask: Mask, seconds: float, *, reached: bool = False
) -> FailedTransient | FailedBlocked | FailedTerminal:
    """What an error of a call means. `seconds` is the time that it had, `reached` whether it came as far as the server.
    What no provider should raise goes into the log."""
    match error:
        case TimeoutError():
            return FailedTransient(message=f"no result within {seconds:.0f} s", reached=reached)
        case StepFailure():
            return replace(_failed(mask, error), reached=reached)
        case Unreadable(message=message):
            mend = error.mend or "Give the vault its key again."
            blocked = FailedBlocked(message=message, block="vault/unreadable", owner="platform", mend=mend)
            return replace(blocked, reached=reached)
        case Unavailable(message=message):  # our own database: the provider was not at fault
            return FailedTransient(message=mask(message), reached=reached)
    trace = mask("".join(traceback.format_exception(error)))
    log.error("provider raised what no provider should", step=str(attempt.key), traceback=trace)
    told = mask(f"{type(error).__name__}: {error}")
    return FailedTerminal(message=f"program error in the provider: {told}", mend="Report it with the log.")


def _failed(mask: Mask, failure: StepFailure) -> FailedTransient | FailedBlocked | FailedTerminal:
    message = mask(failure.message)
    match failure:
        case Transient(retry_after=after):
            return FailedTransient(message=message, retry_after=None if after is None else after.total_seconds())
        case Blocked(key=key, owner=owner, mend=mend):
            return FailedBlocked(message=message, block=key, owner=owner, mend=mask(mend))
        case Terminal(field=field, mend=mend):
            return FailedTerminal(message=message, field=field, mend=None if mend is None else mask(mend))
        case _:
            return FailedTerminal(message=message)


def stopped(why: str) -> Result:
    """The result of an attempt that we ended ourselves."""
    return Stopped(message=why)


class Mask:
    """A message may quote what it was given: no secret of the attempt, nor of its target, leaves in it."""

    def __init__(self, attempt: Attempt, targets: OpenTargets) -> None:
        self._attempt = attempt
        self._targets = targets

    def __call__(self, text: str) -> str:
        """The text with every secret covered, however it is quoted."""
        credentials = (each for each in self._targets.credentials(self._attempt.running.target) if len(each) >= 6)
        forms = {form for secret in (*self._attempt.known_secrets(), *credentials) for form in disguises(secret)}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "•••")
        return text

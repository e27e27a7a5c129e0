"""decide for steps: an attempt starts, ends, or is lost. What a failure leads to is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from twin.domain import events as happened
from twin.domain.decider import Context, backoff
from twin.domain.environment import Environment, Traits
from twin.domain.identity import OperationId
from twin.domain.leftovers import leftover
from twin.domain.operations import BlockRaised, CredentialAt, Exists, FieldsAt, Gone, Operation, Seeded
from twin.domain.paths import component_of
from twin.domain.planner import plan, ready, uses
from twin.domain.rotation import opened_with, stuck
from twin.domain.steps import (
    CHANGES,
    EndStep,
    FailedBlocked,
    FailedTerminal,
    FailedTransient,
    Failure,
    Looked,
    LoseStep,
    StartStep,
    StepKey,
    Stopped,
    Succeeded,
    Swept,
)

_MAKES = frozenset({"seed", "apply", "issue", "grant"})
"""The verbs that leave something in the world."""

_PEOPLE = frozenset({"members", "project_members"})

_NO_TRAITS = Traits()
"""Of a sweep, which is about no component."""

SEED_DEADLINE = 6 * 3600.0
"""Seconds that one attempt of a copy may take: it is bounded by the size of the data, which no type knows."""

MAX_DEATHS = 5
"""So many workers may die in a step before a human has to look."""


def start(env: Environment, given: StartStep, context: Context) -> Iterator[happened.Event]:
    """The intent, unless the step is not due any more."""
    step = plan(env).step(str(given.key))
    failure = env.failures.get(str(given.key))
    early = failure is not None and failure.next_at is not None and failure.next_at > context.now
    early = early or (step is not None and step.not_before is not None and step.not_before > context.now)
    waits = (failure is not None and failure.next_at is None) or (early and not context.behind)
    applies = given.key.verb == "apply"
    if step is None or waits or not ready(env, step) or given.epoch <= env.epoch_of(given.key):
        return
    wanted = env.desired.components.get(given.key.component)
    instance = env.instances.get(given.key.instance)
    traits = instance.traits if instance is not None else wanted.traits if wanted is not None else None
    yield happened.StepStarted(
        key=given.key,
        target=step.target,
        placement=given.placement,
        epoch=given.epoch,
        attempt=env.attempts.get(str(given.key), 0) + 1,
        worker=given.worker,
        at=context.now,
        deadline=context.now + timedelta(seconds=given.deadline or _deadline(given.key, traits or _NO_TRAITS)),
        uses=uses(env, given.key.component) if applies else (),
        opened_with=opened_with(env, given.key.component) if applies else {},
        credential=wanted.credential_version if applies and wanted is not None else 1,
        operations=tuple(o.id for o in env.operations.values() if _serves(o, given.key)),
    )


def end(env: Environment, given: EndStep, context: Context) -> Iterator[happened.Event]:
    """What a result means. One of another epoch than the running attempt's is refused and recorded."""
    running = env.running.get(str(given.key))
    if running is None or running.epoch != given.epoch:
        yield from _refuse(env, given, context)
        return
    key, epoch, now = given.key, given.epoch, context.now
    operations = tuple(o.id for o in env.operations.values() if _serves(o, key))
    match given.result:
        case Succeeded() as done:
            yield happened.StepSucceeded(
                key=key,
                epoch=epoch,
                attempt=running.attempt,
                at=now,
                placement=done.placement,
                external_id=done.external_id,
                outputs=done.outputs,
                credential_version=done.credential_version,
                adopted=done.adopted,
                copied=done.copied,
                lingers=done.lingers,
                operations=operations,
            )
        case Looked(present=present, drift=drift):
            yield happened.ComponentObserved(key=key, epoch=epoch, at=now, present=present, drift=drift)
        case Swept(placement=placement, found=found):
            yield happened.PlacementSwept(
                key=key, epoch=epoch, at=now, target=key.component, placement=placement, found=found
            )
            if found:
                yield from _failed(env, key, epoch, leftover(env, key, found), context, operations)
        case Stopped(message=message):
            yield happened.StepStopped(key=key, epoch=epoch, at=now, message=message)
        case FailedTransient() | FailedBlocked() | FailedTerminal() as failed:
            yield from _failed(env, key, epoch, failed, context, operations)


def lose(env: Environment, given: LoseStep, context: Context) -> Iterator[happened.Event]:
    """The worker is gone. If nobody knows that its process is dead, its call may still act until the deadline and the
    provider's settle time are over, and no certificate is given before."""
    running = env.running.get(str(given.key))
    if running is None or running.epoch != given.epoch:
        return
    instance = env.instances.get(given.key.instance)
    settle = timedelta(seconds=instance.traits.settle if instance is not None else 5.0)
    until = (context.now if given.proven_dead else max(context.now, running.deadline)) + settle
    acts = given.key.verb in CHANGES
    yield happened.StepLost(key=given.key, epoch=given.epoch, at=context.now, settled_at=until if acts else None)
    if env.deaths.get(str(given.key), 0) + 1 >= MAX_DEATHS:
        failure = FailedBlocked(
            message=f"{MAX_DEATHS} workers died while they ran {given.key.verb} of {given.key.component}",
            block=f"deaths/{env.project}/{env.name}/{given.key.component}",
            owner="platform",
            mend="Look at the workers' logs, mend the cause, then resolve this block.",
        )
        yield from _failed(env, given.key, given.epoch, failure, context, ())


def guard_data(env: Environment, context: Context) -> Iterator[happened.Event]:
    """A store of data that is gone is not silently made anew and empty, whatever else changes: a human decides."""
    lost = {instance.key for instance in env.instances.values() if instance.lost}
    for step in plan(env).steps if lost else ():
        key = step.key
        if key.verb == "apply" and key.instance in lost and not step.running and str(key) not in env.failures:
            failure = FailedBlocked(
                message=f"{key.component} is gone from the world, and its data with it",
                block=f"missing/{env.project}/{env.name}/{key.component}",
                owner=f"project {env.project}",
                mend=f"Restore it, or have it made anew and empty: twin retry {env.project}/{env.name} {key.component}",
            )
            yield from _failed(env, key, 0, failure, context, ())


def guard_rotation(env: Environment, context: Context) -> Iterator[happened.Event]:
    """A consumer that cannot be applied keeps the old credential alive: it is named, and a human decides. Once it has
    taken the new one, the block is nobody's any more."""
    steps = {str(step.key): step for step in plan(env).steps}
    for text, step in steps.items():
        key = step.key
        if key.verb != "retire" or step.running:
            continue
        found, failure = stuck(env, step, steps), env.failures.get(text)
        block = f"rotation/{env.project}/{env.name}/{key.component}"
        if failure is None and found is not None:
            consumer, cause = found
            needs = f" before {cause} is mended" if cause != consumer else ""
            stands = FailedBlocked(
                message=f"credential {key.digest} of {key.component} cannot be retired: {consumer} still uses it, and "
                f"{consumer} cannot be applied with the new one{needs}",
                block=block,
                owner=f"project {env.project}",
                mend=f"Mend {cause}, then: twin retry {env.project}/{env.name} {cause}",
            )
            yield from _failed(env, key, 0, stands, context, ())
        elif failure is not None and failure.block == block and found is None:
            yield happened.FailuresCleared(keys=(text,), block=block)


def _deadline(key: StepKey, traits: Traits) -> float:
    return max(traits.deadline, SEED_DEADLINE) if key.verb == "seed" else traits.deadline


def _refuse(env: Environment, given: EndStep, context: Context) -> Iterator[happened.Event]:
    message = getattr(given.result, "message", "")
    yield happened.ResultRefused(
        key=given.key,
        epoch=given.epoch,
        at=context.now,
        result=str(type(given.result).__struct_config__.tag),
        message=message,
    )
    if given.key.verb in _MAKES and given.key.instance in env.departed:
        yield happened.LateEffect(key=given.key, at=context.now)


def _failed(
    env: Environment,
    key: StepKey,
    epoch: int,
    result: FailedTransient | FailedBlocked | FailedTerminal,
    context: Context,
    operations: tuple[OperationId, ...],
) -> Iterator[happened.Event]:
    running = env.running.get(str(key))
    attempt = running.attempt if running is not None else env.attempts.get(str(key), 0)
    before = env.failures.get(str(key))
    first = before.first_at if before is not None else context.now
    match result:
        case FailedTransient(message=message, retry_after=retry_after):
            if (bound := _bound_reached(env, key, attempt, context)) is not None:
                yield from _failed(env, key, epoch, _exhausted(env, key, result, bound), context, operations)
                return
            # What a server asks for wins over our own backoff.
            wait = timedelta(seconds=retry_after) if retry_after is not None else backoff(attempt, context.jitter)
            failure = Failure(
                kind="transient", message=message, first_at=first, at=context.now, next_at=context.now + wait
            )
        case FailedBlocked(message=message, block=block, owner=owner, mend=mend):
            since = first if before is not None and before.kind == "blocked" else context.now
            failure = Failure(
                kind="blocked", message=message, first_at=since, at=context.now, block=block, owner=owner, mend=mend
            )
        case FailedTerminal(message=message, field=field, mend=mend):
            failure = Failure(kind="terminal", message=message, first_at=first, at=context.now, field=field, mend=mend)
    yield happened.StepFailed(
        key=key, epoch=epoch, attempt=attempt, failure=failure, reached=result.reached, operations=operations
    )
    if failure.block is not None:
        yield BlockRaised(
            key=failure.block,
            owner=failure.owner or "platform",
            mend=failure.mend or "",
            message=failure.message,
            component=key.component,
        )


def _bound_reached(env: Environment, key: StepKey, attempt: int, context: Context) -> str | None:
    wanted = env.desired.components.get(key.component)
    if wanted is None or wanted.policy is None:
        return None
    if wanted.policy.attempts is not None and attempt >= wanted.policy.attempts:
        return f"{attempt} attempts"
    failure = env.failures.get(str(key))
    if wanted.policy.within is not None and failure is not None:
        spent = (context.now - failure.first_at).total_seconds()
        if spent >= wanted.policy.within:
            return f"{spent:.0f} s"
    return None


def _exhausted(env: Environment, key: StepKey, result: FailedTransient, bound: str) -> FailedBlocked:
    return FailedBlocked(
        message=f"{result.message} (given up after {bound}, the component's policy)",
        block=env.policy_block(key),
        owner=f"project {env.project}",
        mend=f"Mend the cause, then: twin retry {env.project}/{env.name}",
        reached=result.reached,
    )


def _serves(operation: Operation, key: StepKey) -> bool:
    match operation.goal:
        case Gone():
            return True
        case FieldsAt(values):
            people = key.verb == "grant" and not _PEOPLE.isdisjoint(values)
            return people or "suspended" in values or key.component in {component_of(path) for path in values}
        case Exists(components) | Seeded(components):
            return key.component in components
        case CredentialAt(component=component, version=version):
            issues = key.verb == "issue" and key.digest == str(version)
            return key.component == component and (issues or key.verb == "retire")
        case _:
            return key.verb == "observe"

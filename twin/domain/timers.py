"""Timers and block tasks: what must become due for a twin that sleeps, and what follows when it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from twin.domain.decider import AT_ONCE, Context, TaskSpec
from twin.domain.desire import desire
from twin.domain.environment import Departure, Environment
from twin.domain.events import DestructionBegun, Event, FailuresCleared, HoldEnded, ObservationWanted
from twin.domain.following import news
from twin.domain.members import next_end, without_ended
from twin.domain.operations import CredentialAt, Gone
from twin.domain.planner import plan, ready
from twin.domain.rotation import due_rotations, next_version
from twin.domain.seeding import over
from twin.domain.steps import FireTimer, LiftBlock

TIMERS = "timers"
"""The queue of timers and block tasks."""

EXPIRY = "expiry"
DESTRUCTION = "destruction"
_OBSERVE = "observe:"
_ROTATE = "rotate:"
_HOLD = "hold:"
_MEMBERS = "members"
FOLLOWER = "follower"
"""The task to tell whoever follows that something changed. Run by an engine too, on both entities."""
RELEASE = "release:"
"""The task of a clone to tell its source, whose id follows, that it copies no more. It is no timer of `fire`: it is
about two entities, and an engine runs it in one transaction on both."""


def next_tasks(env: Environment) -> frozenset[TaskSpec]:
    """What must be due now or at a time. A converged twin without TTL yields nothing: it is rows and no more."""
    return frozenset([*_steps(env), *_timers(env)])


def _steps(env: Environment) -> Iterator[TaskSpec]:
    for step in plan(env).steps:
        key = str(step.key)
        failure = env.failures.get(key)
        if step.running:
            yield TaskSpec("step", key, step.target, None)
        elif not ready(env, step):
            continue
        elif failure is None or failure.next_at is not None:
            times = (step.not_before, failure.next_at if failure is not None else None)
            yield TaskSpec("step", key, step.target, max((time for time in times if time is not None), default=AT_ONCE))
    # Also for steps whose turn it is not now: a block resolved meanwhile must not be missed.
    for failure in env.failures.values():
        if failure.block is not None:
            yield TaskSpec("block", failure.block, TIMERS, None)


def _timers(env: Environment) -> Iterator[TaskSpec]:
    desired = env.desired
    if desired.seed is not None and not env.source_told and over(env) is not None:
        yield TaskSpec("timer", RELEASE + desired.seed.source, TIMERS, AT_ONCE)
    if news(env) is not None:
        yield TaskSpec("timer", FOLLOWER, TIMERS, AT_ONCE)
    for hold in env.holds.values():
        yield TaskSpec("timer", _HOLD + hold.clone, TIMERS, hold.until)
    if env.certificate is not None or env.departing:
        return
    if (end := next_end(desired.members)) is not None:
        yield TaskSpec("timer", _MEMBERS, TIMERS, end)
    if desired.departure is not None:
        yield TaskSpec("timer", DESTRUCTION, TIMERS, desired.departure.at)
    elif desired.expires_at is not None and not desired.protected:
        yield TaskSpec("timer", EXPIRY, TIMERS, desired.expires_at)
    if not desired.suspended:
        for name, wanted in desired.components.items():
            instance = env.current(name)
            if wanted.observe_every and instance is not None and instance.applied_at is not None:
                look = env.looks.get(name)
                last = max(instance.applied_at, look.at) if look is not None else instance.applied_at
                yield TaskSpec("timer", _OBSERVE + name, TIMERS, last + timedelta(seconds=wanted.observe_every))
        for name, due in due_rotations(env):
            yield TaskSpec("timer", _ROTATE + name, TIMERS, due)


def fire(env: Environment, given: FireTimer, context: Context) -> Iterator[Event]:
    """What a timer does, if it is due after all: the time may have been moved since."""
    due = {task.key: task.due for task in _timers(env)}.get(given.key)
    if due is None or due > context.now:
        return
    if given.key == EXPIRY:
        gone = replace(env.desired, departure=Departure(at=context.now, begun=True))
        yield from desire(env, gone, signal="expire", context=context, goal=Gone())
    elif given.key == DESTRUCTION:
        yield DestructionBegun(at=context.now)
    elif given.key.startswith(_OBSERVE):
        name, token = given.key.removeprefix(_OBSERVE), context.fresh_id("look")
        yield ObservationWanted(components=(name,), token=token, at=context.now)
    elif given.key.startswith(_ROTATE):
        yield from _rotate(env, given.key.removeprefix(_ROTATE), context)
    elif given.key.startswith(_HOLD):
        clone = given.key.removeprefix(_HOLD)
        yield HoldEnded(clone=env.holds[clone].clone, why="its time is over")
    elif given.key == _MEMBERS:
        left = replace(env.desired, members=without_ended(env.desired.members, context.now))
        yield from desire(env, left, signal="membership_ended", context=context)


def _rotate(env: Environment, name: str, context: Context) -> Iterator[Event]:
    version = next_version(env, name)
    rotated = replace(env.desired.components[name], credential_version=version)
    desired = replace(env.desired, components={**env.desired.components, name: rotated})
    goal = CredentialAt(component=name, version=version)
    yield from desire(env, desired, signal="rotate", context=context, goal=goal, components=(name,))


def lift(env: Environment, given: LiftBlock) -> Iterator[Event]:
    """What waited under a block goes on at the step where it stopped."""
    keys = tuple(text for text, failure in env.failures.items() if failure.block == given.key)
    if keys:
        yield FailuresCleared(keys=keys, block=given.key)

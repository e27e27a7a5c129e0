"""Timers and block tasks: what must become due for a twin that sleeps, and what follows when it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from msgspec.structs import replace

from twin.domain.decider import AT_ONCE, Context, TaskSpec
from twin.domain.desire import desire
from twin.domain.environment import Departure, Environment
from twin.domain.events import DestructionBegun, Event, FailuresCleared, ObservationWanted
from twin.domain.operations import Gone
from twin.domain.planner import plan, ready
from twin.domain.steps import FireTimer, LiftBlock

TIMERS = "timers"
"""The queue of timers and block tasks."""

EXPIRY = "expiry"
DESTRUCTION = "destruction"
_OBSERVE = "observe:"


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
    if env.certificate is not None or env.departing:
        return
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


def lift(env: Environment, given: LiftBlock) -> Iterator[Event]:
    """What waited under a block goes on at the step where it stopped."""
    keys = tuple(text for text, failure in env.failures.items() if failure.block == given.key)
    if keys:
        yield FailuresCleared(keys=keys, block=given.key)

"""decide and advance: the one door through which anything happens to an environment."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain import outcomes, signals, timers
from twin.domain.admission import check_open
from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Certificate, Environment, Membership
from twin.domain.errors import NotFound
from twin.domain.events import BecameReady, Destroyed, Event, FollowerTold, HoldEnded, SourceTold
from twin.domain.following import TellFollower
from twin.domain.goals import endings
from twin.domain.members import SyncMembers
from twin.domain.planner import plan
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.base import Signal
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.create import Create
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.remove_members import RemoveMembers
from twin.domain.signals.retry import Retry
from twin.domain.steps import EndHold, EndStep, EngineInput, FireTimer, LiftBlock, LoseStep, StartStep, TellSource

Input = Signal | EngineInput | SyncMembers | TellFollower

PROJECT_MEMBERS = "project_members"
"""The operation by which an environment takes over the members of its project."""

_WHILE_DEPARTING = (Destroy, Cancel, Retry, Abandon)
_BEFORE_DEPARTING = (*_WHILE_DEPARTING, RemoveMembers)
"""While a destruction waits for its time. Once it has begun, nobody has access any more."""


def decide(env: Environment | None, given: Input, context: Context) -> tuple[Event, ...]:
    """What follows from an input. Raises `Rejected`, `Invalid` or `NotFound`, and then nothing has happened."""
    return tuple(_decide(env, given, context))


def _decide(env: Environment | None, given: Input, context: Context) -> Iterator[Event]:
    if isinstance(given, Signal):
        if not isinstance(given, Create):
            begun = env is not None and env.departing
            allowed = _WHILE_DEPARTING if begun else _BEFORE_DEPARTING
            check_open(env, while_departing=isinstance(given, allowed))
        return signals.decide(env, given, context)
    if env is None:
        raise NotFound("there is no such environment")
    match given:
        case StartStep():
            return outcomes.start(env, given, context)
        case EndStep():
            return outcomes.end(env, given, context)
        case LoseStep():
            return outcomes.lose(env, given, context)
        case FireTimer():
            return timers.fire(env, given, context)
        case LiftBlock():
            return timers.lift(env, given)
        case EndHold(clone=clone, why=why):
            return iter([HoldEnded(clone=clone, why=why)] if clone in env.holds else [])
        case TellSource():
            return iter([] if env.source_told else [SourceTold()])
        case TellFollower(news=told):
            return iter([FollowerTold(news=told)] if env.follower is not None and told != env.heard else [])
        case SyncMembers(members=members):
            return _sync(env, members, context)


def _sync(env: Environment, members: dict[str, Membership], context: Context) -> Iterator[Event]:
    """Also while a destruction waits for its time: who is no member any more must not keep access until then."""
    if env.certificate is None and not env.departing and members != env.desired.project_members:
        desired = replace(env.desired, project_members=members)
        yield from desire(env, desired, signal=PROJECT_MEMBERS, context=context)


def advance(env: Environment, context: Context) -> tuple[Event, ...]:
    """What follows from the state alone: the certificate, a guard over lost data, the first readiness, and operations
    that end."""
    if env.departing and env.certificate is None and not plan(env).steps:
        certificate = Certificate(
            at=context.now, resources=tuple(env.proofs.values()), inventories=tuple(env.swept.values())
        )
        return (Destroyed(certificate=certificate),)
    if guarded := tuple(outcomes.guard_data(env, context)):
        return guarded
    if guarded := tuple(outcomes.guard_rotation(env, context)):
        return guarded
    ready = not env.was_ready and not env.departing and env.certificate is None and not env.desired.suspended
    if ready and not plan(env).steps:
        return (BecameReady(at=context.now), *endings(env))
    return tuple(endings(env))

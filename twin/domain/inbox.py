"""The inbox of a forge as an entity: what its webhook delivered, and what of that is still to be done.

A delivery is taken in one short transaction and answered; the work is an errand. Deliveries are numbered as they come.
One that cannot be done yet, since the forge must be asked and does not answer, waits, and stops none that come later.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from twin.domain.codec import JsonCodec
from twin.domain.decider import AT_ONCE, Context, EntityIndex, TaskSpec, backoff
from twin.domain.errors import Blocked, StepFailure, Transient
from twin.domain.operations import BlockRaised
from twin.domain.steps import FireTimer, LiftBlock
from twin.domain.timers import TIMERS

SCHEMA_V = 1

DELIVERIES = "deliveries"
"""The errand to do what was delivered."""

RETENTION = "retention"
"""The errand to drop what was delivered long ago."""

KEPT = timedelta(days=7)
"""How long the body of a delivery is kept once it is handled: to see what a forge has sent."""

_LONGEST_WAIT = 600.0

Outcome = Literal["given", "ignored"]


def inbox_id(target: str) -> str:
    """The entity that stands for the inbox of that target."""
    return f"inbox_{target}"


def inbox_queue(target: str) -> str:
    """Where its errands are due: beside those of the target, so that neither waits for the other."""
    return f"inbox/{target}"


class Inbox(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Numbers of deliveries: `taken` is the last; all up to `tried` are handled, but for the `waiting` ones, which are
    tried again at `retry_at`, or once the block is resolved. `drop_at`: when the next bodies are dropped."""

    target: str
    taken: int = 0
    handled: int = 0
    tried: int = 0
    waiting: int = 0
    attempts: int = 0
    retry_at: datetime | None = None
    block: str | None = None
    drop_at: datetime | None = None


# -- inputs


class TakeDelivery(Struct, frozen=True, kw_only=True):
    """A delivery with the right signature, not seen before. `event` is what the forge calls it."""

    target: str
    delivery: str
    event: str


class EndDelivery(Struct, frozen=True, kw_only=True):
    """A delivery is handled: given to these entities, or ignored, and why."""

    number: int
    delivery: str
    outcome: Outcome
    why: str
    entities: tuple[str, ...] = ()


class LeaveDeliveries(Struct, frozen=True, kw_only=True):
    """All deliveries up to a number were tried, and so many of them are left, for the reason of one of them."""

    through: int
    waiting: int
    failure: StepFailure | None = None


class LeaveAll(Struct, frozen=True, kw_only=True):
    """The errand broke off: who knows how far it came."""

    failure: StepFailure


class DropBodies(Struct, frozen=True, kw_only=True):
    """The bodies of what was handled long ago are dropped; the oldest that is there still is of something handled then.
    `failed`: they could not be dropped."""

    oldest: datetime | None = None
    failed: bool = False


Input = TakeDelivery | EndDelivery | LeaveDeliveries | LeaveAll | DropBodies | LiftBlock | FireTimer


# -- events


class DeliveryTaken(Struct, frozen=True, kw_only=True, tag="delivery_taken", tag_field="type"):
    """A delivery came in."""

    target: str
    number: int
    delivery: str
    event: str


class DeliveryHandled(Struct, frozen=True, kw_only=True, tag="delivery_handled", tag_field="type"):
    """What came of a delivery."""

    number: int
    delivery: str
    outcome: Outcome
    why: str
    entities: tuple[str, ...]
    at: datetime


class DeliveriesTried(Struct, frozen=True, kw_only=True, tag="deliveries_tried", tag_field="type"):
    """All up to a number have been tried; those left wait for a time, or for what `block` names."""

    through: int
    waiting: int
    attempts: int = 0
    retry_at: datetime | None = None
    block: str | None = None
    message: str = ""


class DeliveriesWoken(Struct, frozen=True, kw_only=True, tag="deliveries_woken", tag_field="type"):
    """What was waited for was mended."""

    key: str


class DropPlanned(Struct, frozen=True, kw_only=True, tag="drop_planned", tag_field="type"):
    """When bodies of old deliveries are dropped next; those of before are gone, unless that failed."""

    drop_at: datetime | None


Event = DeliveryTaken | DeliveryHandled | DeliveriesTried | DeliveriesWoken | DropPlanned | BlockRaised


class InboxDecider(JsonCodec[Inbox, Event]):
    """See `twin.domain.decider.Decider`."""

    kind = "inbox"
    schema_v = SCHEMA_V
    state, event = Inbox, Event
    shared = False

    def decide(self, state: Inbox | None, given: Input, context: Context) -> tuple[Event, ...]:
        """What follows from an input; nothing from one that changes nothing."""
        match given:
            case TakeDelivery(target=target, delivery=delivery, event=event):
                number = (state.taken if state is not None else 0) + 1
                return (DeliveryTaken(target=target, number=number, delivery=delivery, event=event),)
            case _ if state is None:
                return ()
            case EndDelivery():
                return (
                    DeliveryHandled(
                        number=given.number,
                        delivery=given.delivery,
                        outcome=given.outcome,
                        why=given.why,
                        entities=given.entities,
                        at=context.now,
                    ),
                )
            case LeaveDeliveries():
                return _left(state, given, context)
            case LeaveAll(failure=failure):
                all_left = LeaveDeliveries(through=state.taken, waiting=state.taken - state.handled, failure=failure)
                return _left(state, all_left, context)
            case DropBodies():
                return (DropPlanned(drop_at=_next_drop(given, context.now)),)
            case LiftBlock(key=key) if key == state.block:
                return (DeliveriesWoken(key=key),)
            case _:
                return ()

    def advance(self, state: Inbox, context: Context) -> tuple[Event, ...]:
        """Nothing follows from the state alone."""
        return ()

    def evolve(self, state: Inbox | None, event: Event) -> Inbox:
        """The state after an event."""
        if isinstance(event, DeliveryTaken):
            return replace(state or Inbox(target=event.target), taken=event.number)
        assert state is not None, "an inbox begins with its first delivery"
        match event:
            case DeliveryHandled():
                return _handled(state, event)
            case DeliveriesTried():
                return replace(
                    state,
                    tried=max(state.tried, event.through),
                    waiting=event.waiting,
                    attempts=event.attempts,
                    retry_at=event.retry_at,
                    block=event.block,
                )
            case DeliveriesWoken():
                return replace(state, block=None, retry_at=None, attempts=0)
            case DropPlanned(drop_at=drop_at):
                return replace(state, drop_at=drop_at)
            case BlockRaised():
                return state

    def next_tasks(self, state: Inbox) -> frozenset[TaskSpec]:
        """To do what is new, or what waits when its time has come; and to drop what is old."""
        queue = inbox_queue(state.target)
        tasks = []
        if state.taken > state.tried:
            tasks.append(TaskSpec("step", DELIVERIES, queue, AT_ONCE))
        elif state.waiting and state.block is None:
            tasks.append(TaskSpec("step", DELIVERIES, queue, state.retry_at or AT_ONCE))
        if state.block is not None:
            tasks.append(TaskSpec("block", state.block, TIMERS, None))
        if state.drop_at is not None:
            tasks.append(TaskSpec("step", RETENTION, queue, state.drop_at))
        return frozenset(tasks)

    def index(self, state: Inbox) -> EntityIndex:
        """It belongs to no project."""
        return EntityIndex(project="", name=state.target, tier="", status="waiting" if state.waiting else "ready")


INBOX = InboxDecider()


def _left(state: Inbox, given: LeaveDeliveries, context: Context) -> tuple[Event, ...]:
    if given.failure is None:  # what is left was not tried, and waits as before
        if given.through <= state.tried and given.waiting == state.waiting:
            return ()
        waits = given.waiting > 0
        return (
            DeliveriesTried(
                through=given.through,
                waiting=given.waiting,
                attempts=state.attempts if waits else 0,
                retry_at=state.retry_at if waits else None,
                block=state.block if waits else None,
            ),
        )
    tried = DeliveriesTried(
        through=given.through, waiting=given.waiting, attempts=state.attempts + 1, message=given.failure.message
    )
    match given.failure:
        case Blocked(message=message, key=key, owner=owner, mend=mend):
            raised = BlockRaised(key=key, owner=owner, mend=mend, message=message)
            return replace(tried, block=key), raised
        case Transient(retry_after=timedelta() as asked):
            return (replace(tried, retry_at=context.now + asked),)
        case _:
            wait = backoff(tried.attempts, context.jitter, cap=_LONGEST_WAIT)
            return (replace(tried, retry_at=context.now + wait),)


def _handled(state: Inbox, event: DeliveryHandled) -> Inbox:
    """One that is next in turn moves `tried` on; one from before was waiting."""
    waited = event.number <= state.tried
    waiting = max(0, state.waiting - waited)
    state = replace(
        state,
        handled=state.handled + 1,
        tried=state.tried + (event.number == state.tried + 1),
        waiting=waiting,
        drop_at=state.drop_at or event.at + KEPT,
    )
    return replace(state, attempts=0, retry_at=None, block=None) if waited and not waiting else state


def _next_drop(given: DropBodies, now: datetime) -> datetime | None:
    """Once a day at most, for each is a step."""
    if given.failed:
        return now + timedelta(hours=1)
    return None if given.oldest is None else max(given.oldest + KEPT, now + timedelta(days=1))

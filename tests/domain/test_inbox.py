"""The inbox of a forge: what is to be done, when it is tried again, and when it is forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.decider import AT_ONCE, Cause, Context, TaskSpec, fold, transition
from twin.domain.errors import Blocked, StepFailure, Transient
from twin.domain.identity import TWIN
from twin.domain.inbox import (
    DELIVERIES,
    INBOX,
    KEPT,
    RETENTION,
    DropBodies,
    EndDelivery,
    Inbox,
    LeaveAll,
    LeaveDeliveries,
    TakeDelivery,
)
from twin.domain.operations import BlockRaised
from twin.domain.steps import FireTimer, LiftBlock
from twin.testing.story import START

REFUSED = Blocked("the token is refused", key="github/main/token", mend="give another")
NOTHING = frozenset[tuple[str, datetime | None]]()


class Mail:
    """One inbox as time goes by."""

    def __init__(self) -> None:
        self.now = START
        self.state: Inbox | None = None
        self.events: list[Any] = []

    @property
    def inbox(self) -> Inbox:
        assert self.state is not None
        return self.state

    def give(self, *inputs: Any) -> None:
        for each in inputs:
            context = Context(now=self.now, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
            self.state, new = transition(INBOX, self.state, each, context)
            self.events += new

    def take(self, many: int = 1) -> None:
        for _ in range(many):
            number = (self.state.taken if self.state is not None else 0) + 1
            self.give(TakeDelivery(target="github/main", delivery=f"d{number}", event="pull_request"))

    def end(self, *numbers: int) -> None:
        for number in numbers:
            self.give(EndDelivery(number=number, delivery=f"d{number}", outcome="given", why="it may have changed"))

    def leave(self, waiting: int, failure: StepFailure | None) -> None:
        self.give(LeaveDeliveries(through=self.inbox.taken, waiting=waiting, failure=failure))

    @property
    def work(self) -> frozenset[tuple[str, datetime | None]]:
        """What is to be done, but for what only tidies up."""
        return frozenset((each.key, each.due) for each in INBOX.next_tasks(self.inbox) if each.key != RETENTION)

    @property
    def retry_at(self) -> datetime:
        ((_, due),) = self.work
        assert due is not None
        return due


@pytest.fixture
def mail() -> Mail:
    return Mail()


def test_the_first_delivery_makes_the_inbox_and_the_last_that_is_handled_leaves_nothing_to_do(mail: Mail) -> None:
    mail.give(EndDelivery(number=1, delivery="d1", outcome="given", why=""), FireTimer("x"))
    assert mail.state is None
    mail.take(3)
    assert INBOX.next_tasks(mail.inbox) == {TaskSpec("step", DELIVERIES, "inbox/github/main", AT_ONCE)}
    mail.end(1, 2)
    assert mail.work == {(DELIVERIES, AT_ONCE)}
    mail.end(3)
    assert mail.work == NOTHING
    mail.leave(0, None)
    assert mail.events[-1].number == 3, "nothing is left: no event says so"


def test_what_waits_for_the_forge_is_tried_again_later_each_time(mail: Mail) -> None:
    mail.take(2)
    mail.end(2)
    mail.leave(1, Transient("no answer"))
    first = mail.retry_at - mail.now
    mail.now = mail.retry_at
    mail.leave(1, Transient("no answer"))
    assert timedelta(0) < first < mail.retry_at - mail.now
    mail.now = mail.retry_at
    mail.end(1)
    assert mail.work == NOTHING
    assert (mail.inbox.attempts, mail.inbox.retry_at) == (0, None)


def test_what_the_forge_asks_for_wins_over_the_backoff(mail: Mail) -> None:
    mail.take()
    mail.leave(1, Transient("too many requests", retry_after=timedelta(minutes=47)))
    assert mail.retry_at == mail.now + timedelta(minutes=47)


def test_what_waits_stops_nothing_that_comes_after_it_and_is_not_forgotten_over_it(mail: Mail) -> None:
    mail.take()
    mail.leave(1, Transient("no answer"))
    later = mail.retry_at
    mail.take()
    assert mail.work == {(DELIVERIES, AT_ONCE)}
    mail.end(2)
    mail.leave(1, None)  # the run did only what was new
    assert mail.work == {(DELIVERIES, later)}


def test_a_block_is_raised_and_waits_for_a_human_at_no_cost(mail: Mail) -> None:
    mail.take()
    mail.leave(1, REFUSED)
    assert [each.key for each in mail.events if isinstance(each, BlockRaised)] == [REFUSED.key]
    assert INBOX.next_tasks(mail.inbox) == {TaskSpec("block", REFUSED.key, "timers", None)}
    mail.take()
    assert mail.work == {(REFUSED.key, None), (DELIVERIES, AT_ONCE)}, "hints need no token"
    mail.end(2)
    mail.give(LiftBlock("another"))
    assert mail.work == {(REFUSED.key, None)}
    mail.give(LiftBlock(REFUSED.key))
    assert mail.work == {(DELIVERIES, AT_ONCE)}
    mail.end(1)
    assert mail.work == NOTHING


def test_an_errand_that_broke_off_is_tried_again_and_not_at_once(mail: Mail) -> None:
    mail.take(3)
    mail.end(1, 3)
    mail.give(LeaveAll(failure=Transient("a fault of ours")))
    assert mail.inbox.waiting == 1
    assert mail.retry_at > mail.now


def test_old_bodies_are_dropped_after_a_week_and_then_at_most_once_a_day(mail: Mail) -> None:
    mail.take(2)
    assert mail.inbox.drop_at is None
    mail.end(1)
    assert TaskSpec("step", RETENTION, "inbox/github/main", START + KEPT) in INBOX.next_tasks(mail.inbox)
    mail.now = START + timedelta(hours=1)
    mail.end(2)
    assert mail.inbox.drop_at == START + KEPT
    mail.now = START + KEPT
    mail.give(DropBodies(failed=True))
    assert mail.inbox.drop_at == mail.now + timedelta(hours=1), "it could not be done"
    mail.give(DropBodies(oldest=START + timedelta(hours=1)))
    assert mail.inbox.drop_at == mail.now + timedelta(days=1)
    mail.now += timedelta(days=1)
    mail.give(DropBodies(oldest=mail.now - timedelta(hours=1)))
    assert mail.inbox.drop_at == mail.now - timedelta(hours=1) + KEPT
    mail.give(DropBodies(oldest=None))
    assert INBOX.next_tasks(mail.inbox) == frozenset()


@given(st.lists(st.sampled_from(["take", "end", "blocked", "silent", "fine", "broke", "lift"]), max_size=40))
def test_whatever_happens_what_is_not_handled_is_to_be_done_or_waits_for_something_that_comes(moves: list[str]) -> None:
    """An errand ends some of what it read, in any order, and says what is left; or breaks off and says nothing true."""
    mail = Mail()
    undone: set[int] = set()
    mail.take()
    undone.add(1)
    for move in moves:
        match move:
            case "take":
                mail.take()
                undone.add(mail.inbox.taken)
            case "end" if undone:
                mail.end(undone.pop())
            case "blocked" | "silent" if undone:
                mail.leave(len(undone), REFUSED if move == "blocked" else Transient("no answer"))
            case "fine":
                again = {each for each in undone if each > mail.inbox.tried}
                mail.end(*sorted(again))
                undone -= again
                mail.leave(len(undone), None)
            case "broke":
                mail.give(LeaveAll(failure=Transient("broke off")))
            case "lift":
                mail.give(LiftBlock(REFUSED.key))
        assert mail.inbox.taken - mail.inbox.handled == len(undone)
        assert bool(mail.work) >= bool(undone), "nothing is lost"
    mail.end(*sorted(undone))
    mail.leave(0, None)
    assert mail.work == NOTHING
    assert fold(INBOX, mail.events) == mail.inbox
    assert [INBOX.decode_event(INBOX.encode_event(each), 1) for each in mail.events] == mail.events
    assert INBOX.decode_state(INBOX.encode_state(mail.inbox), 1) == mail.inbox

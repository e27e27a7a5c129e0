"""A preview source: its slots go round in order, and what it does not know it asks for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from twin.domain.decider import AT_ONCE, Cause, Context, fold, transition
from twin.domain.errors import Blocked, Invalid, NotFound, Transient, Unavailable
from twin.domain.identity import TWIN
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.source import (
    PREVIEW_SOURCE,
    SCHEMA_V,
    Configure,
    FreeSlot,
    Reconciled,
    RemoveSource,
    RepositorySeen,
    TakeSlot,
    Woken,
)
from twin.domain.previews.trouble import task_failed
from twin.domain.pulls import Repository
from twin.domain.steps import FireTimer, LiftBlock

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
CONFIG = SourceConfig(forge="github/main", repository="shop/web", project="shop", blueprint="guestbook", max_live=1)


class Tale:
    """A source on the bare domain. Each input checks what must always hold."""

    def __init__(self, config=CONFIG):
        self.now = START
        self.state = None
        self.events = []
        self.give(Configure(name="web", config=config))

    def give(self, given):
        context = Context(now=self.now, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
        after, events = transition(PREVIEW_SOURCE, self.state, given, context)
        self.events += [PREVIEW_SOURCE.decode_event(PREVIEW_SOURCE.encode_event(event), SCHEMA_V) for event in events]
        self.state = PREVIEW_SOURCE.decode_state(PREVIEW_SOURCE.encode_state(after), SCHEMA_V)
        assert self.state == after == fold(PREVIEW_SOURCE, self.events), "the state is the fold of its history"
        return events

    def configure(self, **fields):
        return self.give(Configure(name="web", config=replace(self.state.config, **fields)))

    @property
    def tasks(self):
        return {task.key: task.due for task in PREVIEW_SOURCE.next_tasks(self.state)}


@pytest.fixture
def tale():
    return Tale()


def test_a_freed_slot_goes_to_the_first_who_waits(tale):
    for pull in ("pr_web_1", "pr_web_2", "pr_web_3"):
        tale.give(TakeSlot(pull=pull))
        assert tale.give(TakeSlot(pull=pull)) == (), "once is enough"
    assert list(tale.state.live) == ["pr_web_1"]
    assert (tale.state.ahead("pr_web_2"), tale.state.ahead("pr_web_3")) == (0, 1)
    tale.give(FreeSlot("pr_web_1"))
    assert list(tale.state.live) == ["pr_web_2"]
    assert tale.tasks["wake:pr_web_2"] == AT_ONCE
    tale.give(Woken("pr_web_2"))
    assert "wake:pr_web_2" not in tale.tasks
    assert tale.give(Woken("pr_web_2")) == ()
    assert tale.give(FreeSlot("pr_web_1")) == ()
    tale.give(FreeSlot("pr_web_3"))
    assert tale.state.queue == (), "who waits may leave"


def test_more_room_wakes_and_less_takes_from_nobody(tale):
    for number in range(1, 5):
        tale.give(TakeSlot(pull=f"pr_web_{number}"))
    tale.configure(max_live=3)
    assert tale.state.unaware == ("pr_web_2", "pr_web_3")
    tale.configure(max_live=1)
    assert len(tale.state.live) == 3
    tale.give(FreeSlot("pr_web_1"))
    assert len(tale.state.live) == 2


def test_one_that_wants_less_company_lets_others_pass(tale):
    tale.configure(max_live=3)
    tale.give(TakeSlot(pull="pr_web_1"))
    tale.give(TakeSlot(pull="pr_web_2", most=1))
    tale.give(TakeSlot(pull="pr_web_3"))
    assert list(tale.state.live) == ["pr_web_1", "pr_web_3"]
    tale.give(FreeSlot("pr_web_1"))
    tale.give(FreeSlot("pr_web_3"))
    assert list(tale.state.live) == ["pr_web_2"]


def test_it_is_reconciled_at_its_times_and_at_once_when_it_is_another(tale):
    assert tale.tasks == {"reconcile": AT_ONCE}
    tale.give(Reconciled(generation=1, mark="m"))
    assert tale.state.mark == "m"
    assert tale.tasks == {"reconcile": START + timedelta(minutes=5)}
    tale.configure(drafts=True)
    assert tale.tasks == {"reconcile": AT_ONCE}
    tale.give(Reconciled(generation=1))
    assert tale.tasks == {"reconcile": AT_ONCE}, "that began before"
    tale.give(Reconciled(generation=2))
    tale.give(task_failed("reconcile", Transient("a rate limit", retry_after=timedelta(hours=1))))
    assert tale.tasks == {"reconcile": START + timedelta(hours=1)}
    tale.give(task_failed("reconcile", Blocked("no token", key="github/main/token", mend="mend it")))
    assert tale.tasks == {"github/main/token": None}
    tale.give(LiftBlock("github/main/token"))
    assert "reconcile" in tale.tasks
    assert tale.give(LiftBlock("github/main/token")) == ()
    assert tale.give(FireTimer("reconcile")) == ()


def test_a_wake_that_fails_is_tried_again_later(tale):
    tale.give(TakeSlot(pull="pr_web_1"))
    tale.give(TakeSlot(pull="pr_web_2"))
    tale.give(FreeSlot("pr_web_1"))
    tale.give(task_failed("wake:pr_web_2", Transient("no")))
    assert tale.tasks["wake:pr_web_2"] > START


def test_removed_it_ends_with_its_last_preview(tale):
    tale.give(TakeSlot(pull="pr_web_1"))
    tale.give(TakeSlot(pull="pr_web_2"))
    tale.give(RemoveSource())
    assert tale.give(RemoveSource()) == ()
    tale.give(FreeSlot("pr_web_1"))
    assert tale.state.live == {}, "nobody comes after"
    tale.give(Reconciled(generation=2))
    assert PREVIEW_SOURCE.index(tale.state).live
    tale.give(FreeSlot("pr_web_2"))
    assert tale.tasks == {}
    assert not PREVIEW_SOURCE.index(tale.state).live
    tale.give(Configure(name="web", config=CONFIG))
    assert tale.tasks == {"reconcile": AT_ONCE}


@pytest.mark.parametrize("field", ["forge", "repository", "project"])
def test_what_its_pull_requests_are_known_by_stays(tale, field):
    value = "other/one" if field != "project" else "other"
    with pytest.raises(Invalid) as refused:
        tale.configure(**{field: value})
    assert refused.value.field == field
    assert tale.configure() == (), "what is so already is no change"


def test_what_is_not_there_is_said():
    context = Context(now=START, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
    for given_ in (RemoveSource(), TakeSlot(pull="pr_web_1")):
        with pytest.raises(NotFound):
            PREVIEW_SOURCE.decide(None, given_, context)
    assert PREVIEW_SOURCE.decide(None, FreeSlot("pr_web_1"), context) == ()
    with pytest.raises(Unavailable, match="newer version"):
        PREVIEW_SOURCE.decode_state(b"{}", SCHEMA_V + 1)
    with pytest.raises(Unavailable, match="newer version"):
        PREVIEW_SOURCE.decode_event(b"{}", SCHEMA_V + 1)


PULLS = st.sampled_from([f"pr_web_{number}" for number in range(1, 5)])
GIVEN = st.builds(TakeSlot, pull=PULLS) | st.builds(FreeSlot, PULLS) | st.builds(Woken, PULLS)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3), st.lists(st.builds(TakeSlot, pull=PULLS) | st.builds(FreeSlot, PULLS) | st.builds(Woken, PULLS))
)
def test_slots_are_never_exceeded_nor_wasted(most, all_given):
    tale, model = Tale(replace(CONFIG, max_live=most)), []
    for each in all_given:
        tale.give(each)
        if isinstance(each, TakeSlot) and each.pull not in model:
            model.append(each.pull)
        elif isinstance(each, FreeSlot) and each.pull in model:
            model.remove(each.pull)
        waiting = [each.pull for each in tale.state.queue]
        assert sorted([*tale.state.live, *waiting]) == sorted(model)
        assert len(tale.state.live) == min(most, len(model))
        assert set(tale.state.unaware) <= tale.state.live.keys()
        assert waiting == [pull for pull in model if pull in waiting], "in order"


def seen(tale, name, own=7, **more):
    return tale.give(RepositorySeen(repository=Repository(id=own, name=name), **{"generation": 1, **more}))


def test_it_is_of_the_repository_that_was_seen_first_whatever_that_is_called(tale):
    assert tale.state.is_of("Shop/Web", 7), "nothing more is known than its name"
    seen(tale, "shop/web")
    assert seen(tale, "shop/web") == ()
    seen(tale, "shop/site")
    assert tale.state.repository == "shop/site"
    assert seen(tale, "shop/web", own=8) == (), "another one took its old name"
    assert tale.state.repository == "shop/site"
    assert tale.state.is_of("shop/site", None)
    assert tale.state.is_of("shop/later", 7)
    assert not tale.state.is_of("shop/web", None)
    assert not tale.state.is_of("shop/site", 8)


def test_it_can_be_configured_by_its_repository_s_new_name(tale):
    seen(tale, "shop/site")
    with pytest.raises(Invalid):
        tale.configure(repository="shop/other")
    tale.configure(repository="Shop/Site")
    assert tale.state.origin(42).repository == "Shop/Site"
    assert tale.state.is_of("shop/later", 7), "it is the same one still"


def test_made_anew_it_may_be_of_another_repository(tale):
    seen(tale, "shop/web")
    tale.give(RemoveSource())
    tale.give(Configure(name="web", config=CONFIG))
    assert not tale.state.is_of("shop/web", 8), "it was not gone yet"
    tale.give(RemoveSource())
    tale.give(Reconciled(generation=4))
    tale.give(Configure(name="web", config=CONFIG))
    assert seen(tale, "shop/web", generation=4) == (), "asked before it was removed"
    seen(tale, "shop/web", own=8, generation=5)
    assert tale.state.is_of("shop/web", 8)

"""A project: its members come, change and go, and every change is told to its environments."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.domain.decider import AT_ONCE, Cause, Context, TaskSpec, fold, transition
from twin.domain.environment import Membership
from twin.domain.errors import Invalid, NotFound, Rejected, Unavailable
from twin.domain.identity import TWIN, Actor
from twin.domain.members import SyncMembers
from twin.domain.operations import OperationAccepted
from twin.domain.project import PROJECT, SCHEMA_V, TELL, EnvironmentsHaveIt, RemoveMember, SetMember
from twin.domain.signals.add_members import AddMembers, NewMember
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.destroy import Destroy
from twin.domain.steps import FireTimer
from twin.domain.timers import TIMERS
from twin.testing.story import ALICE, BOB, Story

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
TELL_NOW = TaskSpec("timer", TELL, TIMERS, AT_ONCE)


class Tale:
    """A project on the bare domain. Each input checks what must always hold."""

    def __init__(self):
        self.now = START
        self.state = None
        self.events = []

    def give(self, given, by=ALICE):
        context = Context(now=self.now, cause=Cause(by, "req_1"), fresh_id=lambda prefix: prefix, jitter=0.5)
        after, events = transition(PROJECT, self.state, given, context)
        self.events += [PROJECT.decode_event(PROJECT.encode_event(event), SCHEMA_V) for event in events]
        if after is not None:
            self.state = PROJECT.decode_state(PROJECT.encode_state(after), SCHEMA_V)
            assert self.state == after == fold(PROJECT, self.events), "the state is the fold of its history"
        return events

    def set(self, name, **fields):
        return self.give(SetMember(project="shop", name=name, **fields))

    def tell(self):
        return self.give(EnvironmentsHaveIt(self.state.generation), by=TWIN)

    @property
    def tasks(self):
        return {task.key: task.due for task in PROJECT.next_tasks(self.state)}


@pytest.fixture
def tale():
    return Tale()


def test_a_change_is_told_once(tale):
    tale.set("ada", role="viewer")
    assert tale.state.members == {"ada": Membership(role="viewer")}
    assert PROJECT.next_tasks(tale.state) == {TELL_NOW}
    tale.tell()
    assert tale.tasks == {}, "then it sleeps"
    assert tale.set("ada", role="viewer") == (), "what is so already is no change"
    assert tale.tasks == {}


def test_what_changes_while_it_is_told_is_told_again(tale):
    tale.set("ada")
    begun = tale.state.generation
    tale.set("bo")
    tale.give(EnvironmentsHaveIt(begun), by=TWIN)
    assert tale.tasks == {TELL: AT_ONCE}
    tale.tell()
    assert tale.give(EnvironmentsHaveIt(begun), by=TWIN) == (), "a slower worker makes nothing unknown again"
    assert tale.tasks == {}


def test_a_membership_ends_at_its_time_and_not_before(tale):
    tale.set("ada", until="8h")
    tale.set("bo", until=(START + timedelta(hours=9)).isoformat())
    tale.set("cy")
    tale.tell()
    assert tale.tasks == {"members": START + timedelta(hours=8)}
    assert tale.give(FireTimer("members"), by=Actor("timer", "members")) == ()
    tale.now += timedelta(hours=8)
    tale.give(FireTimer("members"), by=Actor("timer", "members"))
    assert list(tale.state.members) == ["bo", "cy"]
    assert tale.state.changed_by == Actor("timer", "members")
    assert tale.state.request_id is None, "no request ended it"
    assert tale.tasks == {TELL: AT_ONCE, "members": START + timedelta(hours=9)}
    tale.set("bo")
    assert "members" not in tale.tasks, "now for good"


def test_who_is_removed_is_gone_and_who_was_never_there_is_named(tale):
    with pytest.raises(NotFound, match="no member of project shop"):
        tale.give(RemoveMember(project="shop", name="ada"))
    tale.set("ada")
    with pytest.raises(NotFound) as refused:
        tale.give(RemoveMember(project="shop", name="adda"))
    assert "ada" in refused.value.mend
    tale.give(RemoveMember(project="shop", name="ada"), by=BOB)
    assert tale.state.members == {}
    assert (tale.state.changed_by, tale.state.request_id) == (BOB, "req_1")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "me"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "ada\n"}, "name"),
        ({"name": "ada", "project": "Shop"}, "project"),
        ({"name": "ada", "until": "yesterday"}, "until"),
        ({"name": "ada", "until": "2020-01-01T00:00:00Z"}, "until"),
    ],
)
def test_bad_input_names_its_field_and_changes_nothing(tale, fields, field):
    with pytest.raises(Invalid) as refused:
        tale.give(SetMember(**{"project": "shop", **fields}))
    assert refused.value.field == field
    assert tale.state is None


def test_a_newer_version_s_bytes_are_refused():
    with pytest.raises(Unavailable, match="newer version"):
        PROJECT.decode_state(b"{}", SCHEMA_V + 1)
    with pytest.raises(Unavailable, match="newer version"):
        PROJECT.decode_event(b"{}", SCHEMA_V + 1)


def test_no_timer_but_its_own_does_anything(tale):
    tale.set("ada", until="1h")
    tale.now += timedelta(hours=2)
    assert tale.give(FireTimer(TELL)) == ()
    assert tale.give(FireTimer("expiry")) == ()


NAMES = st.sampled_from(["ada", "bo", "cy"])
GIVEN = st.one_of(
    st.builds(
        SetMember,
        project=st.just("shop"),
        name=NAMES,
        role=st.sampled_from(["viewer", "developer"]),
        until=st.sampled_from([None, "1h", "5h"]),
    ),
    st.builds(RemoveMember, project=st.just("shop"), name=NAMES),
    st.just(FireTimer("members")),
    st.builds(EnvironmentsHaveIt, st.integers(0, 12)),
    st.integers(1, 180),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(GIVEN, max_size=25))
def test_whatever_happens_it_is_told_what_is_and_comes_to_rest(all_given):
    """Against a model: a dict of ends. `told` never runs ahead, nobody outlives their end once the timer has fired."""
    tale, model = Tale(), {}
    for each in all_given:
        if isinstance(each, int):
            tale.now += timedelta(minutes=each)
            continue
        if isinstance(each, EnvironmentsHaveIt) and (tale.state is None or each.generation > tale.state.generation):
            continue  # an engine tells what it has read
        try:
            tale.give(each)
        except NotFound:
            assert isinstance(each, RemoveMember)
            assert each.name not in model
            continue
        match each:
            case SetMember(name=name, until=until):
                model[name] = tale.now + timedelta(hours=int(until[0])) if until else None
            case RemoveMember(name=name):
                del model[name]
            case FireTimer():
                model = {name: end for name, end in model.items() if end is None or end > tale.now}
        if tale.state is not None:
            assert {name: each.until for name, each in tale.state.members.items()} == model
            assert tale.state.told <= tale.state.generation
    if tale.state is None:
        return
    while (end := tale.tasks.get("members")) is not None:
        tale.now = max(tale.now, end)
        tale.give(FireTimer("members"))
    assert all(each.until is None for each in tale.state.members.values())
    if TELL in tale.tasks:
        tale.tell()
    assert tale.tasks == {}


class TestAnEnvironment:
    """What a project's members are to an environment."""

    ADA = {"ada": Membership(role="viewer")}  # noqa: RUF012

    def test_takes_them_over_once_and_grants_access(self):
        story = Story()
        story.create()
        story.work()
        events = story.give(SyncMembers(self.ADA))
        assert isinstance(events[0], OperationAccepted)
        assert events[0].operation.signal == "project_members"
        assert story.give(SyncMembers(self.ADA)) == ()
        story.work()
        assert story.ended[events[0].operation.id].outcome == "succeeded"
        assert story.give(SyncMembers({})) != ()
        story.work()
        assert story.env.desired.project_members == {}

    def test_has_them_from_its_beginning(self):
        story = Story()
        story.create(project_members=self.ADA)
        story.work()
        assert story.env.desired.project_members == self.ADA
        assert any(key.startswith("db@1:grant") for key in story.done)

    def test_that_is_being_destroyed_takes_nothing(self):
        story = Story()
        story.create()
        story.work()
        story.send(Destroy())
        assert story.give(SyncMembers(self.ADA)) == ()
        story.work()
        assert story.give(SyncMembers(self.ADA)) == ()

    def test_gives_way_to_the_next_change_and_is_not_taken_back(self):
        story = Story()
        story.create()
        story.work()
        first = story.give(SyncMembers(self.ADA))[0].operation.id
        second = story.give(SyncMembers({}))[0].operation.id
        assert story.ended[first].outcome == "superseded"
        assert story.ended[first].by_operation == second
        third = story.give(SyncMembers(self.ADA))[0].operation.id
        with pytest.raises(Rejected, match="said there"):
            story.send(Cancel(operation=third))
        own = story.send(AddMembers(members=(NewMember(name="bo"),)))
        story.send(Cancel(operation=own))
        assert story.env.desired.project_members == self.ADA

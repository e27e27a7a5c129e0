"""Whatever order, loss or repetition events have, and whoever dies over it: the end is right.

Up to 12 things happen to three pull requests, between them work goes on, fails, hangs, dies and comes late; then all is
left to come to rest.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.previews.model import World
from tests.domain.previews.model_course import rest, run
from tests.domain.previews.model_parts import NUMBERS
from twin.domain.previews.inputs import Looked
from twin.domain.previews.names import pull_id
from twin.domain.previews.pulls import PullRequestDecider
from twin.domain.previews.words import publication

CHANGES = ("open", "close", "merge", "reopen", "push", "draft", "ready", "label", "rename", "delete")
COMMANDS = ("redeploy", "destroy", "protect", "unprotect", "extend", "allow", "status")
PICK = st.integers(0, 9)

WORK = st.one_of(
    st.tuples(st.just("deliver"), PICK, st.booleans()),
    st.tuples(
        st.just("work"), PICK, st.sampled_from(["ok", "ok", "ok", "hold", "crash", "lie", "transient", "blocked"])
    ),
    st.tuples(st.sampled_from(["finish", "lose", "zombie", "replay", "settle", "wake", "lift"]), PICK, st.none()),
    st.tuples(st.just("pass"), st.sampled_from([1, 6, 90]), st.none()),
    st.tuples(st.just("run"), st.sampled_from([3, 10, 40]), st.none()),
)
EVENT = st.one_of(
    st.tuples(st.sampled_from(CHANGES), st.sampled_from(NUMBERS)),
    st.tuples(st.sampled_from(COMMANDS), st.sampled_from(NUMBERS)),
    st.tuples(st.just("expire"), st.sampled_from(NUMBERS)),
)
LIVES = st.tuples(
    st.integers(1, 3),
    st.sampled_from([0, 10, 60]),
    st.lists(st.tuples(EVENT, st.lists(WORK, max_size=9)), max_size=12),
)


def live(life, decider=None):
    """One life to its end."""
    most, first, happenings = life
    world = World(max_live=most) if decider is None else World(max_live=most, decider=decider)
    for number in NUMBERS:
        world.change(number, "open")
    run(world, first)
    for (what, number), works in happenings:
        if what in CHANGES:
            world.change(number, what)
        elif what in COMMANDS:
            world.command(number, what)
        else:
            world.expire(number)
        for work in works:
            act(world, *work)
    rest(world)
    return world


def act(world, what, pick, more):
    """Something of the work that lies about."""
    leases = list(world.leases.values())
    match what:
        case "deliver":
            world.deliver(pick, keep=more)
        case "work" if due := world.due():
            number, key = due[pick % len(due)]
            lease = world.begin(number, key, lie=more == "lie" and key == "look")
            if lease is not None and more in ("ok", "lie"):
                world.finish(lease)
            elif lease is not None and more == "crash":
                world.finish(lease, tell=False)
            elif lease is not None and more != "hold":
                world.fail(lease, more)
        case "finish" if leases:
            world.finish(leases[pick % len(leases)])
        case "lose" if leases:
            world.lose(leases[pick % len(leases)])
        case "zombie" if world.zombies:
            world.finish(world.zombies.pop(pick % len(world.zombies)))
        case "replay" if world.results:
            world.hand(*world.results[pick % len(world.results)])
        case "settle":
            world.settle()
        case "wake":
            world.wake()
        case "lift":
            world.blocked = False
        case "run":
            run(world, pick)
        case "pass":
            world.now += timedelta(seconds=pick)


def check(world):
    """What must be so in the end."""
    source = world.source
    standing = {number: [env for env in world.envs[number] if env.status != "destroyed"] for number in NUMBERS}
    wanted = {number for number in NUMBERS if wants(world, number)}
    for number in NUMBERS:
        state = world.states.get(number)
        if state is None:
            continue
        assert len(standing[number]) <= 1, "there is no orphan"
        assert len(world.comments[number]) <= 1
        if (said := publication(state, "comment")) is not None:
            assert list(world.comments[number].values()) == [said.body], "it says how it is in the end"
        assert world.decider.next_tasks(state) <= {each for each in world.tasks(number) if each.kind == "timer"}
        assert state.ended is None or number in world.ended, "nothing ends by itself"
        if number not in wanted and not frozen(world, number):
            assert not standing[number], "close wins"
            assert pull_id("web", number) not in source.live, "no slot is leaked"
            assert source.ahead(pull_id("web", number)) is None
        for env in standing[number]:
            assert env.status == "ready"
            assert frozen(world, number) or env.sha == world.forge[number].head_sha
    served = {number for number in wanted if standing[number]}
    waiting = {number for number in wanted if source.ahead(pull_id("web", number)) is not None}
    assert served | waiting == wanted
    assert not served & waiting
    assert not waiting or len(source.live) == source.config.max_live, "nobody waits beside a free slot"
    for told in world.told.values():
        assert told == sorted(told), "nothing is said of an outdated commit after a newer one"


def wants(world, number):
    """Whether it should have an environment, by what the forge is like and what people have commanded."""
    pull, state = world.forge.get(number), world.states.get(number)
    if pull is None or state is None or pull.state != "open" or pull.draft or pull.labels or state.ended is not None:
        return False
    return number != 3 or (state.allowed is not None and state.allowed.sha == pull.head_sha)


def frozen(world, number):
    """A fork's commit that was allowed may stay where the next one is not."""
    pull, state = world.forge.get(number), world.states[number]
    open_ = pull is not None and pull.state == "open" and not pull.draft and not pull.labels
    return number == 3 and open_ and state.ended is None and state.allowed is not None


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(LIVES)
def test_the_end_is_right(life):
    check(live(life))


class Hasty(PullRequestDecider):
    """One answer is enough."""

    def evolve(self, state, event):
        after = super().evolve(state, event)
        return replace(after, sure=True) if after.leaving_since is not None else after


class Gullible(PullRequestDecider):
    """Every answer is taken, also one to an earlier question."""

    def decide(self, state, given, context):
        if isinstance(given, Looked) and state is not None and given.look <= state.looked < state.wanted:
            given = replace(given, look=state.wanted)
        return super().decide(state, given, context)


RUN = ("run", 40, None)
PLANTED = [
    (Hasty, (1, 60, [(("close", 1), [RUN])]), "it takes two answers, apart"),
    (
        Gullible,
        (1, 60, [(("push", 1), [RUN]), (("rename", 1), [("deliver", 0, False), ("replay", 0, None), RUN])]),
        "deployed is what the newest answer showed",
    ),
]


@pytest.mark.parametrize(("fault", "life", "found"), PLANTED)
def test_a_planted_fault_is_found(fault, life, found):
    """What the random lives check does fail where a rule is missing; and the same life is a good one with it."""
    check(live(life))
    with pytest.raises(AssertionError, match=found):
        check(live(life, fault()))

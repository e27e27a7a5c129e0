"""A small world around the bare domain of previews: a forge, environments, workers that die, and a clock.

What a store, an engine and handlers do is modelled as plainly as can be: events and snapshots go through their JSON, a
task is leased by one worker at a time, results of one that lost its lease come anyway, as inputs that are stale.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from tests.domain.previews.model_parts import CONFIG, NUMBERS, START, Env, change, opened, origin
from twin.domain.decider import Cause, Context, TaskSpec, transition
from twin.domain.following import FollowedChanged
from twin.domain.identity import TWIN
from twin.domain.previews.inputs import (
    CommandGiven,
    Deployed,
    EnvironmentIs,
    Hint,
    Looked,
    Published,
    Publishing,
    SlotFreed,
    SlotGranted,
    SlotQueued,
)
from twin.domain.previews.judging import judge
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import PullRequest, Wish
from twin.domain.previews.pulls import PULL_REQUEST, PullRequestDecider
from twin.domain.previews.source import (
    PREVIEW_SOURCE,
    Configure,
    FreeSlot,
    PreviewSource,
    TakeSlot,
    Woken,
)
from twin.domain.previews.standing import standing, wish
from twin.domain.previews.tasks import APART, PUBLISH
from twin.domain.previews.trouble import TaskFailed
from twin.domain.previews.words import marker, publication
from twin.domain.pulls import Pull
from twin.domain.steps import FireTimer, LiftBlock


@dataclass
class Lease:
    """A task that a worker has begun: what it read, and what it is to do with it."""

    number: int
    key: str
    state: PullRequest
    finish: Callable[[], Any]
    lost: bool = False


@dataclass
class World:
    """Everything. `decider`: the rules under test, or ones with a fault planted."""

    decider: PullRequestDecider = PULL_REQUEST
    max_live: int = 2
    now: datetime = START
    forge: dict[int, Pull] = field(default_factory=dict)
    pushes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    states: dict[int, PullRequest] = field(default_factory=dict)
    envs: dict[int, list[Env]] = field(default_factory=lambda: defaultdict(list))
    webhooks: list[tuple[int, str]] = field(default_factory=list)
    leases: dict[tuple[int, str], Lease] = field(default_factory=dict)
    zombies: list[Lease] = field(default_factory=list)
    results: list[tuple[int, Any]] = field(default_factory=list)
    comments: dict[int, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    told: dict[tuple[int, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    denied: dict[int, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, tuple[int, Pull | None]] = field(default_factory=dict)
    source: PreviewSource | None = None
    ended: set[int] = field(default_factory=set)
    lied: set[int] = field(default_factory=set)
    blocked: bool = False
    ids: int = 0

    def __post_init__(self) -> None:
        self.give_source(Configure(name="web", config=replace(CONFIG, max_live=self.max_live)))

    # -- transitions

    def context(self) -> Context:
        return Context(now=self.now, cause=Cause(TWIN), fresh_id=self.fresh, jitter=0.5)

    def fresh(self, prefix: str) -> str:
        self.ids += 1
        return f"{prefix}_{self.ids}"

    def give(self, number: int, given: Any) -> None:
        """One input to a pull request, one transition."""
        before = self.states.get(number)
        after, events = transition(self.decider, before, given, self.context())
        folded = before
        for event in events:
            stored = PULL_REQUEST.decode_event(PULL_REQUEST.encode_event(event), PULL_REQUEST.schema_v)
            assert stored == event, "an event reads back as it was written"
            folded = self.decider.evolve(folded, stored)
        assert folded == after, "the state is the fold of its history"
        if after is None:
            return
        self.states[number] = PULL_REQUEST.decode_state(PULL_REQUEST.encode_state(after), PULL_REQUEST.schema_v)
        assert self.states[number] == after, "a snapshot reads back as it was written"
        assert self.decider.advance(after, self.context()) == (), "advance leaves nothing to follow"
        wanted = {task.key: task.due for task in self.tasks(number)}
        for (of, key), lease in list(self.leases.items()):
            # A row that goes takes its lease along; whoever held it goes on unaware.
            if of == number and key not in wanted:
                self.lose(lease)

    def give_source(self, given: Any) -> None:
        """One input to the source."""
        after, events = transition(PREVIEW_SOURCE, self.source, given, self.context())
        for event in events:
            assert PREVIEW_SOURCE.decode_event(PREVIEW_SOURCE.encode_event(event), 1) == event
        assert after is not None
        self.source = PREVIEW_SOURCE.decode_state(PREVIEW_SOURCE.encode_state(after), 1)
        assert self.source == after
        assert len(self.source.live) <= self.max_live, "slots are never exceeded"
        assert not {each.pull for each in self.source.queue} & self.source.live.keys()

    def tasks(self, number: int) -> list[TaskSpec]:
        state = self.states.get(number)
        return sorted(self.decider.next_tasks(state), key=lambda task: task.key) if state is not None else []

    # -- what people and strangers do

    def change(self, number: int, what: str) -> bool:
        """Something happens at the forge; False if it cannot now."""
        pull = self.forge.get(number)
        if what == "open":
            if pull is not None:
                return False
            self.pushes[number] += 1
            pull = opened(number, self.pushes[number])
        elif pull is None:
            return False
        else:
            self.pushes[number] += what == "push"
            changed = change(pull, what, self.pushes[number])
            if changed is None:
                return False
            pull = changed
        # A forge's times are coarse: nothing may hang on their order alone.
        self.forge[number] = replace(pull, updated_at=self.now.replace(second=0, microsecond=0))
        if what == "delete":
            del self.forge[number]
        self.webhooks.append((number, f"delivery-{self.fresh('d')}"))
        return True

    def command(self, number: int, text: str) -> None:
        """A member commands something, seeing the forge as it is."""
        pull = self.forge.get(number)
        if text == "destroy":
            self.ended.add(number)
        given = CommandGiven(
            origin=origin(number),
            comment=self.fresh("c"),
            command=text,
            argument="2h" if text == "extend" else "",
            by="ada",
            permission="write",
            sha=pull.head_sha if pull is not None else None,
        )
        self.give(number, given)

    def deliver(self, at: int, *, keep: bool = False) -> None:
        """A webhook comes, in any order, perhaps not for the last time."""
        if self.webhooks:
            number, delivery = self.webhooks[at % len(self.webhooks)]
            if not keep:
                self.webhooks.remove((number, delivery))
            self.give(number, Hint(origin=origin(number), delivery=delivery, what="pull_request"))

    def expire(self, number: int) -> None:
        """The environment's own time is over, or somebody destroys it behind our back."""
        self.ended.add(number)
        for env in self.envs[number]:
            if env.status in ("creating", "ready", "updating"):
                env.status, env.follower_told = "destroying", False

    # -- environments at work

    def settle(self) -> bool:
        """Environments go on, and tell who follows them."""
        moved = False
        for number, envs in self.envs.items():
            for env in envs:
                after = {"creating": "ready", "updating": "ready", "destroying": "destroyed"}.get(env.status)
                if after is not None:
                    env.status, env.follower_told, moved = after, False, True
                if not env.follower_told and number in self.states:
                    env.follower_told, moved = True, True
                    self.give(number, FollowedChanged(environment=env.id))
        return moved

    # -- workers

    def due(self) -> list[tuple[int, str]]:
        """The tasks that a worker could take now."""
        return [
            (number, task.key)
            for number in NUMBERS
            for task in self.tasks(number)
            if (task.kind != "block" or not self.blocked)
            and (task.due is None or task.due <= self.now)
            and (number, task.key) not in self.leases
        ]

    def begin(self, number: int, key: str, *, lie: bool = False) -> Lease | None:
        """A worker takes a task and reads what it needs; a timer or a block is over at once."""
        state = self.states[number]
        task = next(task for task in self.tasks(number) if task.key == key)
        if task.kind == "timer":
            self.give(number, FireTimer(key))
            return None
        if task.kind == "block":
            self.give(number, LiftBlock(key))
            return None
        lease = Lease(number, key, state, self._work(number, key, state, lie=lie))
        self.leases[number, key] = lease
        if key.startswith(PUBLISH) and (said := publication(state, key.removeprefix(PUBLISH))) is not None:
            self.give(number, Publishing(sink=said.sink, digest=said.digest))
        return lease

    def _work(self, number: int, key: str, state: PullRequest, *, lie: bool) -> Callable[[], Any]:
        match key:
            case "look":
                lie = lie and number not in self.lied
                self.lied |= {number} if lie else set()
                pull = None if lie else self.forge.get(number)
                return lambda asked=self.now: self._look(number, state.wanted, pull, asked)
            case "deploy":
                return lambda: self._deploy(number, state)
            case "slot":
                return lambda: self._slot(number)
            case "see":
                env = self.envs[number][-1].preview(number) if self.envs[number] else None
                return lambda: EnvironmentIs(news=state.news, environment=env)
            case _:
                return lambda: self._publish(number, key.removeprefix(PUBLISH), state, state)

    def finish(self, lease: Lease, *, tell: bool = True) -> None:
        """The errand is done; without `tell`, its worker dies before it has said so."""
        given = lease.finish()
        if self.leases.get((lease.number, lease.key)) is lease:
            del self.leases[lease.number, lease.key]
        if given is not None:
            self.results.append((lease.number, given))
            if tell and not lease.lost:
                self.hand(lease.number, given)

    def hand(self, number: int, given: Any) -> None:
        """A result comes, perhaps once more, or long after."""
        before = self.states[number].looked
        taken = isinstance(given, Looked) and given.look > self.newest.get(number, (0, None))[0]
        self.give(number, given)
        if taken and self.states[number].looked > before:
            self.newest[number] = (given.look, given.pull)

    def fail(self, lease: Lease, kind: str) -> None:
        """The forge, or whoever is asked, answers with an error."""
        if self.leases.get((lease.number, lease.key)) is lease:
            del self.leases[lease.number, lease.key]
        block = "github/main/token" if kind == "blocked" else None
        self.blocked = self.blocked or block is not None
        if not lease.lost:
            self.give(
                lease.number,
                TaskFailed(task=lease.key, kind=kind, message="no", block=block, owner="platform", mend="mend it"),
            )

    def lose(self, lease: Lease) -> None:
        """The worker is given up, and may go on all the same."""
        del self.leases[lease.number, lease.key]
        lease.lost = True
        if lease.key.startswith(PUBLISH):  # nobody can take back a call; but each looks before it makes one
            sink = lease.key.removeprefix(PUBLISH)
            lease.finish = lambda: self._publish(lease.number, sink, self.states[lease.number], lease.state)
        self.zombies.append(lease)

    # -- errands

    def _look(self, number: int, look: int, pull: Pull | None, asked: datetime) -> Looked:
        if self._denies(pull):
            self.denied[number].append(asked)
        else:
            self.denied[number].clear()
        verdict = None
        if pull is not None and not pull.is_over:
            verdict = judge(CONFIG, pull, paths=("app.py",), sandbox=True)
        return Looked(look=look, pull=pull, verdict=verdict)

    @staticmethod
    def _denies(pull: Pull | None) -> bool:
        return pull is None or pull.is_over or pull.draft or bool(pull.labels)

    def _deploy(self, number: int, read: PullRequest) -> Any:
        """In one transaction: it finds the wish as it is, but for making something, where it may be slow."""
        state = self.states[number]
        wished = wish(state)
        stale = wish(read)
        if wished is None or wished.digest != (stale.digest if stale is not None else ""):
            self._late(number, stale)
            return None
        env = next((each for each in self.envs[number] if each.status != "destroyed"), None)
        if wished.sha is None:
            if env is not None and env.status != "destroying":
                self._may_destroy(number, state)
                env.status, env.follower_told = "destroying", False
            return Deployed(wish=wished, environment=env.id if env is not None else None)
        look, pull = self.newest[number]
        assert pull is not None, f"look {look} found none"
        assert (pull.state, pull.head_sha) == ("open", wished.sha), "deployed is what the newest answer showed"
        if env is not None and env.status == "destroying":
            return TaskFailed(task="deploy", kind="transient", message="it goes", about=wished.digest)
        return Deployed(wish=wished, environment=self._make(number, wished.sha))

    def _late(self, number: int, stale: Wish | None) -> None:
        """One that does not look makes what is not wanted any more: it must be found again."""
        if stale is not None and stale.sha is not None:
            self._make(number, stale.sha)

    def _make(self, number: int, commit: str) -> str | None:
        env = next((each for each in self.envs[number] if each.status != "destroyed"), None)
        if env is None:
            env = Env(self.fresh("env"), commit)
            self.envs[number].append(env)
        elif env.status == "destroying":
            return None
        elif env.sha != commit:
            env.sha, env.status, env.follower_told = commit, "updating", False
        return env.id

    def _may_destroy(self, number: int, state: PullRequest) -> None:
        """Never by an error, nor by a single answer."""
        if standing(state) in ("over", "unwanted") and state.ended is None and state.done is not None:
            times = self.denied[number]
            assert times, "the forge says that it should live"
            assert times[-1] - times[0] >= timedelta(seconds=APART), "it takes two answers, apart"

    def _slot(self, number: int) -> None:
        """Both entities in one transaction."""
        state, entity = self.states[number], pull_id("web", number)
        wished = wish(state)
        if wished is None or self.source is None:
            return
        if wished.sha is None:
            if any(task.key == "slot" for task in self.tasks(number)):
                assert not any(each.status != "destroyed" for each in self.envs[number]) or self.zombies
                self.give_source(FreeSlot(entity))
                self.give(number, SlotFreed())
            return
        self.give_source(TakeSlot(pull=entity, most=None))
        ahead = self.source.ahead(entity)
        self.give(number, SlotGranted() if ahead is None else SlotQueued(ahead))

    def wake(self) -> bool:
        """The source tells who has got a slot."""
        assert self.source is not None
        woken = self.source.unaware
        for entity in woken:
            self.give(int(entity.rpartition("_")[2]), SlotGranted())
            self.give_source(Woken(entity))
        return bool(woken)

    def _publish(self, number: int, sink: str, read: PullRequest, begun: PullRequest) -> Any:
        said = publication(read, sink)
        if said is None:
            return None
        self.told[number, sink].append(int(said.sha[1:], 16))
        if sink == "comment":
            found = marker(pull_id("web", number))
            assert said.body.startswith(found)
            assert "<script" not in said.body
            self.comments[number][found] = said.body
        telling = begun.tellings.get(sink, 0) + 1
        if self.states[number].tellings.get(sink, 0) != telling:  # by a worker that was given up, and is late
            self.give(number, Publishing(sink=sink, digest=said.digest))
        return Published(sink=sink, digest=said.digest, telling=telling, asked=said.asked)

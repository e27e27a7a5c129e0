"""The oracle of previews: judges what is committed of pull requests, sources and inboxes by the forge as it is."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any, Protocol

from twin.domain.decider import AT_ONCE, Decider
from twin.domain.environment import Environment
from twin.domain.events import Created, DesiredChanged
from twin.domain.inbox import INBOX, DeliveryHandled
from twin.domain.previews.events import CommandTaken, PullLooked
from twin.domain.previews.names import source_id
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource
from twin.domain.previews.source_events import SlotTaken, SourceRemoved
from twin.domain.previews.standing import standing
from twin.domain.previews.tasks import APART
from twin.store import chain
from twin.store.moments import to_micros
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.pulls.truth import ForgeTruth, Key
from twin.testing.simulator.virtual_loop import START

_KINDS: dict[str, Decider[Any, Any, Any]] = {each.kind: each for each in (INBOX, PULL_REQUEST, PREVIEW_SOURCE)}
_ROWS = "SELECT kind, key, queue, due_at, lease_owner FROM tasks WHERE entity = ?"
_SNAPSHOT = "SELECT snapshot, seq, head FROM entities WHERE id = ?"
_SET_BACK = 61_000_000
_ON_ITS_WAY = 5.0
"""Seconds between a look at what is to be said and the saying of it, at most."""

_REMEMBERED = 3600.0
_ANSWER = 400.0
"""Seconds from an answer of the forge to the commit of what follows from it."""


class Speaker(Protocol):
    """Who says something of a commit. `frozen_until`: when it last began to move again."""

    frozen_until: float


class PullOracle:
    """`states`: of every pull request, source and inbox; `previews`: the environments of a pull request, in the order
    of their creation. `apart`: seconds that must lie between two answers."""

    def __init__(self, truth: ForgeTruth, journal: Journal) -> None:
        self.states: dict[str, Any] = {}
        self.previews: dict[str, list[str]] = {}
        self.environments: dict[str, Environment] = {}
        self.apart = APART
        self._truth = truth
        self._must = journal.must
        self._journal = journal
        self._made: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._removed: dict[str, float] = {}
        self._limits: dict[str, int] = {}
        self._once: set[tuple[str, str]] = set()
        self._touched: dict[str, tuple[str, int, bytes]] = {}

    def reports(self, repository: str, sha: str, speaker: Any) -> None:
        """Something is about to be said of a commit: it is the last that is known, unless that changed just now."""
        if _now() - speaker.frozen_until < _REMEMBERED:
            return  # what it had seen before it froze, it says
        known = any(self._heads(repository, sha))
        fresh = _now() - self._left.get(sha, -_REMEMBERED) <= _ON_ITS_WAY
        self._must(known or fresh, "something is said of an outdated commit", f"{repository} {sha}")

    # -- every event

    def heard(self, entity: str, seq: int, head: bytes, body: Any) -> None:
        """An event of a pull request, a source or an inbox."""
        envelope = chain.unseal(body)
        decider = _KINDS.get(envelope.kind)
        if decider is None:
            return
        event = decider.decode_event(bytes(envelope.event), envelope.schema_v)
        before = self.states.get(entity)
        after = self.states[entity] = decider.evolve(before, event)
        self._touched[entity] = (envelope.kind, seq, head)
        match event:
            case SlotTaken(pull=pull):
                self._slot(entity, after, pull)
            case SourceRemoved():
                self._removed[entity] = _now()
            case PullLooked(pull=pull):
                if (
                    before is not None
                    and before.pull is not None
                    and (pull is None or pull.head_sha != before.pull.head_sha)
                ):
                    self._left[before.pull.head_sha] = _now()
            case DeliveryHandled(number=number):
                self._first(entity, f"delivery {number}", "a delivery is handled twice")
            case CommandTaken(comment=comment):
                self._first(entity, f"comment {comment}", "a comment commands twice")
            case _:
                pass

    def changed(self, before: Environment | None, after: Environment, event: Any, body: Any) -> None:
        """An event of an environment."""
        if after.follower is None:
            return
        pull = after.follower.entity
        self.environments[after.id] = after
        match event:
            case Created():
                self._created(pull, after)
            case DesiredChanged() if before is not None:
                if shown(before) != shown(after):
                    self._shows(pull, after)
                gone = before.desired.departure is None and after.desired.departure is not None
                if gone and chain.unseal(body).actor.kind == "pull_request":
                    self._destroyed(pull, after)
            case _:
                pass

    def committed(self, raw: sqlite3.Connection, latest: int) -> None:
        """Snapshots are the folds, and task rows are what is next."""
        for entity, (kind, seq, head) in self._touched.items():
            self._compare(raw, entity, _KINDS[kind], seq, head, latest)
        self._touched.clear()

    # -- the rules

    def _created(self, pull: str, env: Environment) -> None:
        state: PullRequest | None = self.states.get(pull)
        self._must(state is not None, "a preview without a pull request", pull, env.id)
        assert state is not None
        wanted = standing(state) == "wanted" and state.slot == "held"
        self._must(wanted, "a preview that nobody wants", f"{standing(state)}, slot {state.slot}", env.id)
        others = [each for each in self.previews.get(pull, ()) if self.alive(each)]
        self._must(not others, "two previews of one pull request live", str(others), env.id)
        self.previews.setdefault(pull, []).append(env.id)
        self._made[env.id] = _now()
        source: PreviewSource = self.states[source_id(state.origin.source)]
        live = [each for other in self.of(source) for each in self.previews.get(other, ()) if self.alive(each)]
        most = max([source.config.max_live, *(self._limits[each] for each in source.live)])
        self._must(len(live) <= most, "more previews live than may", f"{len(live)} of {most}", env.id)

    def _shows(self, pull: str, env: Environment) -> None:
        """The commit that it is to show is the last, and may run."""
        state: PullRequest = self.states[pull]
        sha, key = shown(env), (state.origin.repository, state.origin.number)
        head = state.pull.head_sha if state.pull is not None else None
        self._must(sha == head, "an outdated commit is deployed", f"{sha} instead of {head}", pull)
        allowed = sha is not None and self._truth.may_run(key, sha)
        self._must(allowed, "a stranger's commit runs without leave", str(sha), pull)

    def _destroyed(self, pull: str, env: Environment) -> None:
        """By its pull request: as somebody or time has ended it, or as the forge has said so, twice."""
        state: PullRequest = self.states[pull]
        # The first answer may have been that its source was gone, long before one could be asked for the second time.
        since = (state.leaving_since - START).total_seconds() if state.leaving_since is not None else _now()
        removed = min(since, _now()) - self._removed.get(source_id(state.origin.source), -_REMEMBERED) < _REMEMBERED
        source: PreviewSource = self.states[source_id(state.origin.source)]
        if state.ended is not None or source.removed or removed:
            return
        key: Key = (state.origin.repository, state.origin.number)
        denials = [at for at in self._truth.denials.get(key, ()) if at >= self._made[env.id] - _ANSWER]
        twice = len(denials) > 1 and denials[-1] - denials[0] >= self.apart
        self._must(twice, "a preview is destroyed without two answers of the forge", str(denials), pull)

    def _slot(self, entity: str, source: PreviewSource, pull: str) -> None:
        limit = source.config.max_live
        self._limits[pull] = limit
        full = len(source.live) <= limit
        self._must(full, "more slots are taken than there are", f"{len(source.live)} of {limit}", entity)

    def _first(self, entity: str, what: str, rule: str) -> None:
        self._must((entity, what) not in self._once, rule, what, entity)
        self._once.add((entity, what))

    # -- what others ask

    def alive(self, environment: str) -> bool:
        """Whether it is not certified as gone."""
        return self.environments[environment].certificate is None

    def of(self, source: PreviewSource) -> list[str]:
        """The pull requests of a source that are known."""
        states = ((entity, each) for entity, each in self.states.items() if isinstance(each, PullRequest))
        return [entity for entity, each in states if each.origin.source == source.name]

    def _heads(self, repository: str, sha: str) -> list[bool]:
        return [
            True
            for each in self.states.values()
            if isinstance(each, PullRequest)
            and each.origin.repository == repository
            and each.pull is not None
            and each.pull.head_sha == sha
        ]

    def _compare(
        self, raw: sqlite3.Connection, entity: str, decider: Decider[Any, Any, Any], seq: int, head: bytes, latest: int
    ) -> None:
        must, state = self._must, self.states[entity]
        snapshot, at, link = raw.execute(_SNAPSHOT, (entity,)).fetchone()
        must((at, link) == (seq, head), "the snapshot is not of the last event", f"{at}", entity)
        same = snapshot == decider.encode_state(state) or decider.decode_state(snapshot, decider.schema_v) == state
        must(same, "the snapshot is not the fold of the events", "", entity)
        rows = {(kind, key): (queue, due, owner) for kind, key, queue, due, owner in raw.execute(_ROWS, (entity,))}
        specs = {(spec.kind, spec.key): spec for spec in decider.next_tasks(state)}
        if rows.keys() != specs.keys():
            detail = f"{sorted(rows.keys() - specs.keys())} too many, {sorted(specs.keys() - rows.keys())} missing"
            raise self._journal.broken("task rows are not what is next", detail, entity)
        for place, spec in specs.items():
            queue, due, owner = rows[place]
            if owner is not None:
                right = True  # when it is due again is written when the lease ends
            elif spec.due is None:
                right = due is None or (spec.kind == "block" and due <= latest)
            elif spec.due == AT_ONCE:
                right = due is not None and due <= latest
            else:
                right = due is not None and 0 <= to_micros(spec.due) - due <= _SET_BACK
            must(right and queue == spec.queue, "a task is due at another time", f"{spec} but {rows[place]}", entity)


def shown(env: Environment) -> str | None:
    """The commit that an environment is to show."""
    wanted = env.desired.components.get("app")
    source = wanted.inputs.get("source") if wanted is not None else None
    return source.get("ref") if isinstance(source, dict) else None


def _now() -> float:
    return asyncio.get_running_loop().time()

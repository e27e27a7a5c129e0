"""The end of a life with pull requests: each has the preview that it should have by the forge, or it says why not."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta

from twin.domain.previews.names import pull_id, source_id
from twin.domain.previews.pull_request import SINKS, PullRequest
from twin.domain.previews.source import PreviewSource
from twin.domain.previews.words import context, phase, publication
from twin.domain.pulls import Pull
from twin.domain.status import status
from twin.ports.forge import Report
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.pulls.authors import Authors
from twin.testing.simulator.pulls.oracle import PullOracle, shown
from twin.testing.simulator.pulls.truth import ForgeTruth, denies
from twin.testing.simulator.virtual_loop import START

_LEFT = (
    "SELECT entity, kind, key FROM tasks WHERE (due_at IS NULL OR due_at <= ?"
    " OR (kind = 'step' AND key NOT IN ('reconcile', 'retention')) OR (kind = 'timer' AND key = 'second'))"
    " AND NOT (key = 'retention' AND lease_owner IS NULL)"
    " AND entity_kind IN ('pull_request', 'preview_source', 'inbox') LIMIT 1"
)


class PullEnding:
    """What must hold of pull requests when all has come to rest."""

    def __init__(self, authors: Authors, truth: ForgeTruth, oracle: PullOracle, journal: Journal) -> None:
        self._authors = authors
        self._truth = truth
        self._oracle = oracle
        self._journal = journal
        self._since = 0.0

    async def prepare(self) -> None:
        """Whatever the operator was about to do, is done."""
        await self._authors.come_back()

    def begin(self) -> None:
        """From now on nothing happens but what follows; each source is to be reconciled once more."""
        self._since = _now()

    def unrest(self, raw: sqlite3.Connection) -> tuple[str | None, str] | None:
        """What is still to be done."""
        now = int((_now() + 1_767_225_600) * 1_000_000)
        row = raw.execute(_LEFT, (now,)).fetchone()
        if row is not None:
            return row[0], f"{row[1]} {row[2]}"
        since = START + timedelta(seconds=self._since)
        for source in self._sources():
            if not source.at_rest and (source.reconciled_at is None or source.reconciled_at < since):
                return source_id(source.name), "it is not reconciled"
        return None

    def check(self) -> None:
        """Each pull request, by the forge as it is."""
        for source in self._sources():
            for key, pull in self._truth.pulls.items():
                if key[0] == source.config.repository:
                    self._one(source, pull)
            for entity in self._oracle.of(source):
                known: PullRequest = self._oracle.states[entity]
                if (known.origin.repository, known.origin.number) not in self._truth.pulls:
                    self._none(entity, "it is gone at the forge, and its preview is not")
        for key in self._truth.comments:
            count = len(self._truth.ours(key))
            self._journal.must(count <= 1, "more than one comment", f"{count} on {key}")
        for environment, env in self._oracle.environments.items():
            follower = self._oracle.states[env.follower.entity] if env.follower is not None else None
            shown = follower.environment if follower is not None else None
            its = shown is not None and shown.id == environment
            orphan = self._oracle.alive(environment) and not its
            self._journal.must(not orphan, "a preview that no pull request knows", "", environment)

    def all_over(self) -> None:
        """Nothing lives, and sources that were removed are at rest."""
        for environment in self._oracle.environments:
            self._journal.must(not self._oracle.alive(environment), "a preview outlives all", "", environment)
        for source in self._sources():
            detail = f"{sorted(source.live)} live, {len(source.queue)} wait"
            self._journal.must(source.at_rest, "a source that was removed has no end", detail, source_id(source.name))

    async def remove_sources(self) -> None:
        """The operator leaves."""
        for name in self._authors.sources:
            await self._authors.remove(name)

    def close_all(self) -> None:
        """The authors leave."""
        self._authors.close_all()

    def _sources(self) -> list[PreviewSource]:
        return [each for each in self._oracle.states.values() if isinstance(each, PreviewSource)]

    def _one(self, source: PreviewSource, pull: Pull) -> None:
        must, entity = self._journal.must, pull_id(source.name, pull.number)
        state: PullRequest | None = self._oracle.states.get(entity)
        if state is None:
            must(pull.is_over, "a pull request is never noticed", pull.url, entity)
            return
        known = state.pull is not None and not state.gone
        # Of what was over before, and is so now, nobody need know what happened in between.
        known = known and (state.pull == pull or (pull.is_over and state.pull is not None and state.pull.is_over))
        must(known, "a pull request is not known as it is", f"{state.pull}", entity)
        said = self._says(entity, state)
        if pull.is_over:
            self._none(entity, "a preview of a pull request that is over")
            must(said in ("closed", "destroyed"), "what is said is not how it ended", said, entity)
        elif state.ended is not None:
            self._none(entity, "a preview that was ended lives")
            must(said == "ended", "nobody says that it has ended", said, entity)
        elif self._truth.commits[pull.head_sha].file == b"ttl: [\n" and not pull.is_fork:
            must(said == "invalid", "nobody says that the file is wrong", said, entity)
        elif denies(pull):
            self._none(entity, "a preview of a pull request that should have none")
            must(said == "unwanted", "nobody says that it is not wanted", said, entity)
        elif not self._allowed(state, pull):
            must(said == "waits for leave", "nobody says that leave is needed", said, entity)
        elif state.slot == "queued":
            self._none(entity, "a preview that waits for its turn lives")
            narrow = self._truth.commits[pull.head_sha].file == b"max_live: 1\n" and not pull.is_fork
            most = 1 if narrow else source.config.max_live
            must(len(source.live) >= most, "it waits, and there is room", f"{source.live}", entity)
            must(entity not in source.live, "it waits, and has had its turn", f"{source.live}", entity)
            must(said == "queued", "nobody says that it waits", said, entity)
        else:
            self._lives(entity, state, pull, said)

    def _lives(self, entity: str, state: PullRequest, pull: Pull, said: str) -> None:
        """Exactly one, of the newest commit, and it is said."""
        must = self._journal.must
        trouble = state.troubles.get("deploy")
        if trouble is not None and trouble.kind == "terminal":
            must(said == "failed", "nobody says that it cannot be deployed", said, entity)
            return
        living = [each for each in self._oracle.previews.get(entity, ()) if self._oracle.alive(each)]
        must(len(living) == 1, "it has not exactly one preview", f"{living}, slot {state.slot}, {said}", entity)
        env = self._oracle.environments[living[0]]
        must(shown(env) == pull.head_sha, "the preview shows another commit", str(shown(env)), entity)
        must(said == status(env), "what is said is not how it is", f"{said} but {status(env)}", entity)

    def _allowed(self, state: PullRequest, pull: Pull) -> bool:
        return not pull.is_fork or (state.allowed is not None and state.allowed.sha == pull.head_sha)

    def _none(self, entity: str, rule: str) -> None:
        living = [each for each in self._oracle.previews.get(entity, ()) if self._oracle.alive(each)]
        self._journal.must(not living, rule, str(living), entity)

    def _says(self, entity: str, state: PullRequest) -> str:
        """What the forge shows of us is what is to be said; the word for it."""
        must, key = self._journal.must, (state.origin.repository, state.origin.number)
        for sink in SINKS:
            said = publication(state, sink)
            if said is None:
                continue
            if sink == "comment":
                bodies = [each.body.strip() for each in self._truth.ours(key)]
                right = len(bodies) == 1 and bodies[0].startswith(said.body.strip())
                must(right, "the comment does not say how it is", f"{phase(state)}, not {bodies}", entity)
            ours = context(state.origin.source)
            report = Report(context=ours, outcome=said.outcome, summary=said.summary, url=said.url)
            if sink == "status":
                found = self._truth.statuses.get((key[0], said.sha, ours))
                must(found == report, "the status is another", f"{found}, not {report}", entity)
            if sink == "deployment":
                place = (key[0], said.sha, said.environment or state.origin.source)
                shown = self._truth.deployments.get(place)
                right = shown == report or (shown is None and report.outcome == "inactive")
                must(right, "the deployment is another", f"{shown}, not {report}", entity)
        return phase(state)


def _now() -> float:
    return asyncio.get_running_loop().time()

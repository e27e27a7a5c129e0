"""Deploying: an environment is asked to be what a pull request wishes, in one transaction with the pull request.

An environment is locked before its pull request, as whoever tells a follower does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from twin.domain.component_type import ComponentType
from twin.domain.decider import Cause
from twin.domain.environment import Environment, Follower
from twin.domain.errors import Terminal
from twin.domain.identity import Actor, EnvironmentId
from twin.domain.previews.config import TIER, CloneFrom
from twin.domain.previews.inputs import Deployed, EnvironmentIs
from twin.domain.previews.judging import Recipe
from twin.domain.previews.pull_request import PullRequest, Wish
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.standing import deploy_due, wish
from twin.domain.signals.base import Signal
from twin.domain.signals.clone import Clone
from twin.domain.signals.create import Create
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.extend import Extend
from twin.domain.signals.retry import Retry
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.clock import Clock
from twin.ports.forge import OpenForges
from twin.ports.store import EntityRow, Store, Tx
from twin.service.accepting import check_room, creation_of, with_members
from twin.service.offers import library
from twin.service.previews.committing import committed
from twin.service.previews.seeing import seen


class Deploying:
    """Runs the errands `deploy` and `see`."""

    def __init__(
        self,
        store: Store,
        types: Mapping[str, ComponentType],
        forges: OpenForges,
        changes: Changes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._types = types
        self._forges = forges
        self._changes = changes
        self._clock = clock

    async def deploy(self, pull: str, state: PullRequest) -> None:
        """Ask the environment to be as wished, and say so to the pull request. Raises `StepFailure`."""
        wished = wish(state)
        if wished is None or not deploy_due(state):
            return
        row = await self._environment(pull, state)
        source = await self._source(state, wished.recipe) if wished.recipe is not None else {}

        def give(tx: Tx) -> str | None:
            env = _locked(tx, row.entity if row is not None else None, wished.recipe)
            now: PullRequest = tx.state(PULL_REQUEST.kind, pull)
            if wish(now) != wished or not deploy_due(now):
                return None  # something else is wanted by now
            asking = _Asking(tx, self._types, pull, now, wished)
            if wished.recipe is None:
                asked = asking.away(env)
            elif env is None or env.released:
                asked = asking.create(wished.recipe, source, EnvironmentId(self._clock.fresh_id("env")))
            else:
                asked = asking.update(env, wished.recipe, source)
            if wished.recipe is not None and wished.recipe.fork and asked is not None:
                asking.check_sandbox(asked, wished.recipe)
            tx.transition(PULL_REQUEST.kind, pull, Deployed(wish=wished, environment=asked), asking.cause)
            return asked

        asked = await committed(self._store, give)
        for each in (pull, asked):
            if each is not None:
                self._changes.notify(each)

    async def see(self, pull: str, state: PullRequest) -> EnvironmentIs:
        """How the environment is."""
        news, row = state.news, await self._environment(pull, state)
        recipe = state.verdict.recipe if state.verdict is not None else None
        component = recipe.component if recipe is not None else "app"
        view = seen(row.state, component, self._clock.now()) if row is not None else None
        return EnvironmentIs(news=news, environment=view)

    async def _environment(self, pull: str, state: PullRequest) -> EntityRow | None:
        """The one that follows the pull request: the last that was deployed, or the one of its name."""
        known = state.done.environment if state.done is not None else None
        known = known or (state.environment.id if state.environment is not None else None)
        row = await self._store.entity(ENVIRONMENT.kind, known) if known is not None else None
        recipe = state.verdict.recipe if state.verdict is not None else None
        if (row is None or row.state.released) and recipe is not None:
            row = await self._store.named(ENVIRONMENT.kind, recipe.project, recipe.name) or row
        return row if row is not None and _is_its(row.state, pull) else None

    async def _source(self, state: PullRequest, recipe: Recipe) -> dict[str, Any]:
        assert state.pull is not None
        forge = await self._forges.forge(state.origin.forge, state.origin.project)
        return {"git": forge.clone_url(recipe.repository), "ref": state.pull.head_sha}


class _Asking(Struct, frozen=True):
    """One transaction that asks the environment of the pull request `pull`, which is `now` like this, to be as
    wished. What is asked returns the environment's id."""

    tx: Tx
    types: Mapping[str, ComponentType]
    pull: str
    now: PullRequest
    wished: Wish

    @property
    def cause(self) -> Cause:
        """The pull request."""
        origin = self.now.origin
        return Cause(Actor("pull_request", f"{origin.repository}#{origin.number}"), self.pull, self.pull)

    def away(self, env: Environment | None) -> str | None:
        """Have it destroyed, if it is there."""
        if env is None or env.released:
            return None
        if not env.departing:
            if env.desired.protected and env.desired.departure is None:  # closing ends what is protected too
                self._signal(env.id, Unprotect())
            self._signal(env.id, Destroy())
        return env.id

    def create(self, recipe: Recipe, source: dict[str, Any], fresh: EnvironmentId) -> str:
        """Ask for a new one, with that id."""
        origin = self.now.origin
        given: dict[str, Any] = {
            "id": fresh,
            "name": recipe.name,
            "tier": TIER,
            "ttl": self._ttl(recipe),
            "inputs": recipe.inputs,
            "labels": {"pr": str(origin.number), "preview-source": origin.source},
            "sources": {recipe.component: source},
            "follower": Follower(kind=PULL_REQUEST.kind, entity=self.pull),
        }
        if recipe.clone_from is None:
            create = with_members(self.tx, Create(project=recipe.project, blueprint=recipe.blueprint or "", **given))
            check_room(self.tx, create)
        else:
            create = self._cloned(recipe.clone_from, given)
        self._signal(fresh, create)
        if self.wished.protected:
            self._signal(fresh, Extend(ttl="never"))
        return fresh

    def check_sandbox(self, environment: str, recipe: Recipe) -> None:
        """Raise `Terminal`, and nothing was asked, if what is to run a stranger's commit keeps it from nothing."""
        env: Environment = self.tx.state(ENVIRONMENT.kind, environment)
        wanted = env.desired.components[recipe.component]
        type_ = self.types.get(wanted.type)
        if type_ is None or not type_.sandbox:
            raise Terminal(
                f"{recipe.component} is a {wanted.type}, which has no sandbox for a stranger's commit",
                field="forks",
                mend="Have a component type with a sandbox run the commits of forks, or set forks: never.",
            )

    def _cloned(self, clone_from: CloneFrom, given: dict[str, Any]) -> Create:
        project, _, name = clone_from.environment.partition("/")
        origin = self.tx.find(ENVIRONMENT.kind, project, name)
        if origin is None:
            raise Terminal(
                f"{clone_from.environment}, which previews are cloned from, is not there",
                mend="Create it, or have the preview source name another one.",
            )
        clone = Clone(data=clone_from.data, **given)
        create = creation_of(self.tx, origin, clone, library(self.tx, self.types))
        check_room(self.tx, create)
        self._signal(origin, clone)
        return create

    def update(self, env: Environment, recipe: Recipe, source: dict[str, Any]) -> str:
        """Ask the one that stands to show the commit. What it holds is a copy, or nothing that anybody would miss."""
        sources = {recipe.component: source}
        self._signal(env.id, Update(inputs=recipe.inputs or None, sources=sources, allow_data_loss=True))
        if (ttl := self._other_end(env, recipe)) is not None:
            self._signal(env.id, Extend(ttl=ttl))
        if self.now.done is not None and self.now.done.sha == self.wished.sha:  # it was asked for once more
            self._signal(env.id, Retry() if env.failures else DetectDrift())
        return env.id

    def _other_end(self, env: Environment, recipe: Recipe) -> str | float | None:
        """How long it is to live from now on; None: as it is. It ends no earlier than it would have."""
        ends, until = env.desired.expires_at, self.wished.until
        if self.wished.protected:
            return "never" if ends is not None else None
        if ends is None:  # protected until now, if anything ends it at all
            blueprint, _ = library(self.tx, self.types).blueprint(str(env.desired.blueprint))
            return self._ttl(recipe) or blueprint.tier(env.tier).ttl
        return self._ttl(recipe) if until is not None and until > ends else None

    def _ttl(self, recipe: Recipe) -> float | None:
        """Seconds from now: what the source says, and at least until somebody has asked for."""
        until = self.wished.until
        asked = (until - self.tx.now).total_seconds() if until is not None else None
        times = [seconds for seconds in (recipe.ttl, asked) if seconds is not None]
        return max(1.0, *times) if times else None

    def _signal(self, environment: str, signal: Signal) -> None:
        offered = library(self.tx, self.types)
        self.tx.transition(ENVIRONMENT.kind, environment, signal, self.cause, library=offered)


def _locked(tx: Tx, known: str | None, recipe: Recipe | None) -> Environment | None:
    """The environment that is known. What one is cloned from is locked too: environments come before pull requests, in
    the order of their ids."""
    origin = None
    if recipe is not None and recipe.clone_from is not None:
        project, _, name = recipe.clone_from.environment.partition("/")
        origin = tx.find(ENVIRONMENT.kind, project, name)
    ids = sorted({each for each in (known, origin) if each is not None})
    states = {each: tx.state(ENVIRONMENT.kind, each) for each in ids}
    return states[known] if known is not None else None


def _is_its(env: Environment, pull: str) -> bool:
    return env.follower is not None and env.follower.entity == pull

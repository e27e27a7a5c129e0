"""Deploying: an environment is asked to be what a pull request wishes, in one transaction with the pull request.

An environment is locked before its pull request, as whoever tells a follower does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.domain.component_type import ComponentType
from twin.domain.decider import Cause
from twin.domain.environment import Environment, Follower
from twin.domain.errors import Problem, Terminal, Transient, Unavailable
from twin.domain.identity import Actor, EnvironmentId
from twin.domain.previews.inputs import Deployed, EnvironmentIs
from twin.domain.previews.judging import Recipe
from twin.domain.previews.pull_request import PullRequest, Wish
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.standing import deploy_due, wish
from twin.domain.signals.base import Signal
from twin.domain.signals.clone import Clone, creation
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
from twin.service.accepting import check_name, with_members
from twin.service.offers import library
from twin.service.previews.seeing import seen

TIER = "preview"


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
        source = await self._source(state, wished.recipe) if wished.recipe is not None else None

        def give(tx: Tx) -> str | None:
            env: Environment | None = tx.state(ENVIRONMENT.kind, row.entity) if row is not None else None
            now: PullRequest = tx.state(PULL_REQUEST.kind, pull)
            if wish(now) != wished or not deploy_due(now):
                return None  # something else is wanted by now
            cause = Cause(Actor("pull_request", f"{now.origin.repository}#{now.origin.number}"), pull)
            if wished.recipe is None:
                asked = self._send_away(tx, env, cause)
            elif env is None or env.released:
                asked = self._create(tx, pull, now, wished, wished.recipe, source, cause)
            else:
                asked = self._update(tx, env, now, wished, wished.recipe, source, cause)
            tx.transition(PULL_REQUEST.kind, pull, Deployed(wish=wished, environment=asked), cause)
            return asked

        try:
            asked = await self._store.transact(give)
        except Unavailable as refusal:
            raise Transient(refusal.message) from None
        except Problem as problem:
            raise Terminal(problem.message, field=problem.field, mend=problem.mend) from None
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

    async def _source(self, state: PullRequest, recipe: Recipe) -> dict[str, Any] | None:
        assert state.pull is not None
        forge = await self._forges.forge(state.origin.forge)
        return {"git": forge.clone_url(recipe.repository), "ref": state.pull.head_sha}

    def _send_away(self, tx: Tx, env: Environment | None, cause: Cause) -> str | None:
        if env is None or env.released:
            return None
        if not env.departing:
            if env.desired.protected and env.desired.departure is None:  # closing ends what is protected too
                self._signal(tx, env.id, Unprotect(), cause)
            self._signal(tx, env.id, Destroy(), cause)
        return env.id

    def _create(
        self,
        tx: Tx,
        pull: str,
        now: PullRequest,
        wished: Wish,
        recipe: Recipe,
        source: dict[str, Any] | None,
        cause: Cause,
    ) -> str:
        fresh = EnvironmentId(self._clock.fresh_id("env"))
        given: dict[str, Any] = {
            "id": fresh,
            "name": recipe.name,
            "tier": TIER,
            "ttl": _ttl(tx, wished, recipe),
            "inputs": recipe.inputs,
            "labels": {"pr": str(now.origin.number), "preview-source": now.origin.source},
            "sources": {recipe.component: source} if source is not None else {},
            "follower": Follower(kind=PULL_REQUEST.kind, entity=pull),
        }
        offered = library(tx, self._types)
        if recipe.clone_from is None:
            create = Create(project=recipe.project, blueprint=recipe.blueprint or "", **given)
        else:
            project, _, name = recipe.clone_from.environment.partition("/")
            origin = tx.find(ENVIRONMENT.kind, project, name)
            if origin is None:
                raise Terminal(
                    f"{recipe.clone_from.environment}, which previews are cloned from, is not there",
                    mend="Create it, or have the preview source name another one.",
                )
            clone = Clone(data=recipe.clone_from.data, **given)
            create = creation(tx.state(ENVIRONMENT.kind, origin), clone, tx.version(ENVIRONMENT.kind, origin), offered)
            tx.transition(ENVIRONMENT.kind, origin, clone, cause, library=offered)
        check_name(tx, create)
        tx.transition(ENVIRONMENT.kind, fresh, with_members(tx, create), cause, library=offered)
        if wished.protected:
            self._signal(tx, fresh, Extend(ttl="never"), cause)
        return fresh

    def _update(
        self,
        tx: Tx,
        env: Environment,
        now: PullRequest,
        wished: Wish,
        recipe: Recipe,
        source: dict[str, Any] | None,
        cause: Cause,
    ) -> str:
        sources = {recipe.component: source} if source is not None else {}
        if sources or recipe.inputs:
            # What a preview holds is a copy, or nothing that anybody would miss.
            update = Update(inputs=recipe.inputs or None, sources=sources, allow_data_loss=True)
            self._signal(tx, env.id, update, cause)
        if (ttl := self._other_end(tx, env, wished, recipe)) is not None:
            self._signal(tx, env.id, Extend(ttl=ttl), cause)
        if now.done is not None and now.done.sha == wished.sha:  # it was asked for once more
            self._signal(tx, env.id, Retry() if env.failures else DetectDrift(), cause)
        return env.id

    def _other_end(self, tx: Tx, env: Environment, wished: Wish, recipe: Recipe) -> str | float | None:
        """How long it is to live from now on; None: as it is. It ends no earlier than it would have."""
        ends = env.desired.expires_at
        if wished.protected:
            return "never" if ends is not None else None
        if ends is None:  # protected until now, if anything ends it at all
            blueprint, _ = library(tx, self._types).blueprint(str(env.desired.blueprint))
            return _ttl(tx, wished, recipe) or blueprint.tier(env.tier).ttl
        later = wished.until is not None and wished.until > ends
        return _ttl(tx, wished, recipe) if later else None

    def _signal(self, tx: Tx, environment: str, signal: Signal, cause: Cause) -> None:
        tx.transition(ENVIRONMENT.kind, environment, signal, cause, library=library(tx, self._types))


def _ttl(tx: Tx, wished: Wish, recipe: Recipe) -> float | None:
    """Seconds from now: what the source says, and at least until somebody has asked for."""
    asked = (wished.until - tx.now).total_seconds() if wished.until is not None else None
    times = [seconds for seconds in (recipe.ttl, asked) if seconds is not None]
    return max(1.0, *times) if times else None


def _is_its(env: Environment, pull: str) -> bool:
    return env.follower is not None and env.follower.entity == pull

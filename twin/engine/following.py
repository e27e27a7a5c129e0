"""Telling whoever follows an environment that it changed: one transaction on both, the environment locked first."""

from __future__ import annotations

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.environment import Environment
from twin.domain.following import FollowedChanged, TellFollower, news
from twin.domain.identity import TWIN
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.store import Store, Tx


class Following(Struct, frozen=True):
    """Runs the task `follower` of an environment."""

    store: Store
    changes: Changes

    async def tell(self, environment: str) -> None:
        """Tell, unless there is no news any more."""

        def tell(tx: Tx) -> str | None:
            env: Environment | None = tx.state(ENVIRONMENT.kind, environment)
            told = news(env) if env is not None else None
            if env is None or env.follower is None or told is None:
                return None
            kind, entity = env.follower.kind, env.follower.entity
            if tx.state(kind, entity) is not None:
                tx.transition(kind, entity, FollowedChanged(environment=environment), Cause(TWIN))
            tx.transition(ENVIRONMENT.kind, environment, TellFollower(news=told), Cause(TWIN))
            return entity

        follower = await self.store.transact(tell)
        if follower is not None:
            self.changes.notify(follower)
            self.changes.notify(environment)

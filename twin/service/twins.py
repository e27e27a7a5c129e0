"""The use cases of environments: create, send signals, look, wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from twin.domain.component_type import ComponentType
from twin.domain.decider import Context, Decider, transition
from twin.domain.desire import signal_name
from twin.domain.environment import Environment
from twin.domain.errors import Invalid, NotFound, PreconditionFailed, Rejected
from twin.domain.identity import EnvironmentId
from twin.domain.near import near_misses
from twin.domain.planner import plan
from twin.domain.signals.base import Signal
from twin.domain.signals.clone import Clone
from twin.domain.signals.create import Create
from twin.domain.signals.update import Update
from twin.domain.steps import Plan
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.clock import Clock
from twin.ports.previews import Previews
from twin.ports.starter import Starter
from twin.ports.store import EntityRow, OperationRow, Store, Tx
from twin.service.accepting import (
    KIND,
    body_of,
    check_room,
    check_version,
    creation_of,
    known_reply,
    no_operation,
    remember,
    told,
    with_members,
)
from twin.service.offers import library
from twin.service.principals import Principal, Request
from twin.service.rendering import (
    destruction_view,
    environment_summary,
    environment_view,
    operation_row_view,
    plan_view,
    with_foreseen,
    with_previews,
)
from twin.service.views import Accepted, DestructionView, EnvironmentView, OperationView, PageView, PlanView

POLL = 0.5
"""Seconds after which a waiter looks again, should a hint have been missed."""


class _Outcome(Struct, frozen=True):
    """What one transaction that accepts a signal came to."""

    entity: str
    operation_id: str
    replayed: bool = False
    begun: Sequence[Any] = ()
    accepted: Accepted | None = None


class Twins:
    """What edges call about environments. Every method checks the principal's role."""

    def __init__(
        self,
        store: Store,
        types: Mapping[str, ComponentType],
        changes: Changes,
        clock: Clock,
        starter: Starter | None = None,
        previews: Previews | None = None,
    ) -> None:
        self._store = store
        self._types = types
        self._changes = changes
        self._clock = clock
        self._starter = starter
        self._previews = previews
        self._committing: set[asyncio.Task[_Outcome]] = set()

    async def create(self, create: Create, request: Request) -> Accepted:
        """Ask for an environment in `create.project`."""
        request.by.require("developer", create.project)
        body = body_of(create)
        fresh = EnvironmentId(self._clock.fresh_id("env"))

        def accept(tx: Tx) -> _Outcome:
            if (known := known_reply(tx, request, body)) is not None:
                return _Outcome(known.entity, known.operation_id, replayed=True)
            check_room(tx, create)
            return self._transition(tx, fresh, with_members(tx, replace(create, id=fresh)), request, body)

        return await self._accepted(accept)

    async def send(
        self, environment_id: str, signal: Signal, request: Request, *, if_match: int | None = None
    ) -> Accepted:
        """Send a signal. `if_match`: only if the twin's version is still this."""
        row = await self._row(environment_id, request.by, signal.role)
        self._refuse_create(signal)
        self._refuse_given(signal)
        body = body_of(signal, environment_id)
        fresh = EnvironmentId(self._clock.fresh_id("env"))

        def accept(tx: Tx) -> _Outcome:
            if (known := known_reply(tx, request, body)) is not None:
                return _Outcome(known.entity, known.operation_id, replayed=True)
            check_version(tx, row.entity, if_match)
            if signal.expect_plan is not None:
                self._check_plan(tx, row.entity, signal, request)
            if isinstance(signal, Clone):
                return self._clone(tx, row.entity, replace(signal, id=fresh), request, body)
            return self._transition(tx, row.entity, signal, request, body)

        return await self._accepted(accept)

    async def dry_run(
        self, environment_id: str, signal: Signal, request: Request, *, preview: bool = False
    ) -> PlanView:
        """The plan that the signal would lead to; with `preview`, also what its applies would change, which providers
        are asked for. Nothing is changed and nobody is told."""
        row = await self._row(environment_id, request.by, signal.role)
        self._refuse_create(signal)

        def look(tx: Tx) -> Environment:
            return self._imagine_sent(tx, row.entity, signal, request)

        return await self._planned(await self._store.transact(look), preview=preview)

    async def dry_run_create(self, create: Create, request: Request, *, preview: bool = False) -> PlanView:
        """The plan of a creation."""
        request.by.require("developer", create.project)
        fresh = EnvironmentId(self._clock.fresh_id("env"))

        def look(tx: Tx) -> Environment:
            check_room(tx, create)
            return self._imagine(tx, None, with_members(tx, replace(create, id=fresh)), request)

        return await self._planned(await self._store.transact(look), preview=preview)

    async def get(self, environment_id: str, by: Principal) -> EnvironmentView:
        """One environment by id; raises `NotFound`, also for what the principal may not see."""
        return await self._view(await self._row(environment_id, by, "viewer"))

    async def certificate(self, environment_id: str, by: Principal) -> DestructionView:
        """The proof of destruction, or what is left of it to do. Raises `Rejected` for what is not being destroyed."""
        row = await self._row(environment_id, by, "viewer")
        env: Environment = row.state
        if env.certificate is None and not env.departing:
            raise Rejected(
                f"{env.project}/{env.name} is not being destroyed",
                code="not_destroyed",
                mend=f"twin destroy {env.project}/{env.name}",
            )
        return destruction_view(env)

    async def named(self, project: str, name: str, by: Principal) -> EnvironmentView:
        """The living environment of that name, or else the last that had it."""
        by.require("viewer", project)
        row = await self._store.named(KIND, project, name)
        if row is None:
            others = await self._store.entities(KIND, project=project, limit=1000)
            near = near_misses(name, [other.name for other in others.items])
            mend = None if near else "See `twin ls` for what there is."
            raise NotFound(f"project {project!r} has no environment {name!r}", field="name", near=near, mend=mend)
        return await self._view(row)

    async def at(self, environment_id: str, as_of: datetime, by: Principal) -> EnvironmentView:
        """The environment as it was at a time, also after its destruction. It has no version: nothing
        can be sent to the past."""
        row = await self._row(environment_id, by, "viewer")
        env = await self._store.history(KIND, row.entity, until=as_of)
        if env is None:
            raise NotFound(f"{row.project}/{row.name} was not there yet at {as_of.isoformat()}", field="as_of")
        return environment_view(env, 0, as_of)

    async def all(
        self,
        by: Principal,
        *,
        project: str | None = None,
        tier: str | None = None,
        status: str | None = None,
        labels: dict[str, str] | None = None,
        gone: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> PageView:
        """EnvironmentSummaries of a project, or, for those who may see all, of all projects."""
        by.require("viewer", project or "*")
        page = await self._store.entities(
            KIND, project=project, tier=tier, status=status, labels=labels, live=not gone, limit=limit, after=after
        )
        now = self._clock.now()
        return PageView(items=tuple(environment_summary(row, now) for row in page.items), next=page.next)

    async def operation(self, operation_id: str, by: Principal, *, wait: float = 0.0) -> OperationView:
        """An operation; with `wait`, as soon as it has ended, or after that many seconds as it then is."""
        until = time.monotonic() + wait
        row = await self._operation_row(operation_id, by)
        if wait > 0 and row.outcome is None:
            with self._changes.watch(row.entity) as watch:
                # It may have ended between the first look and the watch.
                while (row := await self._stored_operation(operation_id)).outcome is None:
                    if (left := until - time.monotonic()) <= 0:
                        break
                    await watch.changed(min(POLL, left))
        return operation_row_view(row)

    async def operations(
        self, environment_id: str, by: Principal, *, limit: int = 50, after: str | None = None
    ) -> PageView:
        """OperationViews of an environment, newest first."""
        row = await self._row(environment_id, by, "viewer")
        page = await self._store.operations(row.entity, limit=limit, after=after)
        return PageView(items=tuple(operation_row_view(each) for each in page.items), next=page.next)

    async def _planned(self, imagined: Environment, *, preview: bool) -> PlanView:
        left = plan(imagined)
        view = with_foreseen(plan_view(imagined, left), imagined, self._clock.now())
        if not preview or self._previews is None:
            return view
        return with_previews(view, await self._previews.previews(imagined, left))

    async def _view(self, row: EntityRow) -> EnvironmentView:
        """As it is now; only what runs is asked how far it is."""
        progress = await self._store.progress(row.entity) if row.state.running else {}
        return environment_view(row.state, row.seq, self._clock.now(), progress)

    async def _row(self, environment_id: str, by: Principal, role: str) -> EntityRow:
        row = await self._store.entity(KIND, environment_id)
        if row is None or not by.may("viewer", row.project):
            raise NotFound(f"there is no environment {environment_id!r}", field="environment")
        by.require(role, row.project)
        return row

    async def _operation_row(self, operation_id: str, by: Principal) -> OperationRow:
        row = await self._stored_operation(operation_id)
        if not by.may("viewer", row.project):
            raise no_operation(operation_id)
        return row

    async def _stored_operation(self, operation_id: str) -> OperationRow:
        row = await self._store.operation(operation_id)
        if row is None:
            raise no_operation(operation_id)
        return row

    def _transition(self, tx: Tx, entity: str, signal: Signal, request: Request, body: str) -> _Outcome:
        done = tx.transition(KIND, entity, signal, request.cause, library=library(tx, self._types))
        accepted = told(done)
        operation = accepted.operation.id
        remember(tx, request, body, entity, operation)
        return _Outcome(entity, operation, begun=self._begin(tx, entity), accepted=accepted)

    def _clone(self, tx: Tx, source: str, clone: Clone, request: Request, body: str) -> _Outcome:
        """Both twins in one transaction. The source is locked first: its id is the older one."""
        offered = library(tx, self._types)
        create = creation_of(tx, source, clone, offered)
        check_room(tx, create)
        tx.transition(KIND, source, clone, request.cause, library=offered)
        return self._transition(tx, clone.id, create, request, body)

    def _imagine_sent(self, tx: Tx, entity: str, signal: Signal, request: Request) -> Environment:
        """What a signal would lead to: for a clone, the new environment."""
        if not isinstance(signal, Clone):
            return self._imagine(tx, tx.state(KIND, entity), signal, request)
        self._imagine(tx, tx.state(KIND, entity), signal, request)  # what the source refuses
        clone = replace(signal, id=self._clock.fresh_id("env"))
        create = creation_of(tx, entity, clone, library(tx, self._types))
        check_room(tx, create)
        return self._imagine(tx, None, create, request)

    def _imagine(self, tx: Tx, state: Environment | None, signal: Signal, request: Request) -> Environment:
        context = Context(
            now=tx.now,
            cause=request.cause,
            fresh_id=lambda prefix: f"{prefix}_dry_run",
            jitter=0.0,
            library=library(tx, self._types),
        )
        decider: Decider[Any, Any, Any] = ENVIRONMENT
        after: Environment | None = transition(decider, state, signal, context)[0]
        if after is None:
            raise NotFound("there is no such environment")
        return after

    def _check_plan(self, tx: Tx, entity: str, signal: Signal, request: Request) -> None:
        after = self._imagine_sent(tx, entity, signal, request)
        would: Plan = plan(after)
        if would.digest != signal.expect_plan:
            raise PreconditionFailed(
                "the plan would be another one than the one expected",
                field="expect_plan",
                mend="Look at the plan below, and send its digest if it is right.",
                details={"plan": msgspec.to_builtins(plan_view(after, would))},
            )

    @staticmethod
    def _refuse_create(signal: Signal) -> None:
        if isinstance(signal, Create):
            raise Invalid(
                "create is no signal to an environment that exists",
                field="signal",
                mend="POST it to /v1/projects/{project}/environments.",
            )

    @staticmethod
    def _refuse_given(signal: Signal) -> None:
        for name in ("id", "follower", "sources") if isinstance(signal, Clone | Update) else ():
            if getattr(signal, name, None):
                problem = f"{name}: {signal_name(signal)} has no such field"
                raise Invalid(problem, field=name, mend="Leave it out: the service gives it.")

    async def _commit(self, accept: Callable[[Tx], _Outcome]) -> _Outcome:
        outcome = await self._store.transact(accept)
        if self._starter is not None:
            self._starter.launch(outcome.begun)
        self._changes.notify(outcome.entity)
        return outcome

    def _begin(self, tx: Tx, entity: str) -> Sequence[Any]:
        """The first steps begin in the same transaction, if a worker here has room for them."""
        return self._starter.begin(tx, KIND, entity) if self._starter is not None else ()

    def _committed(self, committing: asyncio.Task[_Outcome]) -> None:
        self._committing.discard(committing)
        if not committing.cancelled():
            committing.exception()  # looked at: whoever has hung up does not hear of a refusal, nor should the log

    async def _accepted(self, accept: Callable[[Tx], _Outcome]) -> Accepted:
        # A client that hangs up must not part the commit from the launch: what was begun would run nowhere.
        committing = asyncio.create_task(self._commit(accept))
        self._committing.add(committing)
        committing.add_done_callback(self._committed)
        outcome = await asyncio.shield(committing)
        if outcome.accepted is not None:
            return outcome.accepted
        entity, operation_id = outcome.entity, outcome.operation_id
        row = await self._store.operation(operation_id)
        env = await self._store.entity(KIND, entity)
        if row is None or env is None:  # committed just now, and nothing deletes them
            raise NotFound(f"there is no operation {operation_id!r}")
        return Accepted(
            operation=operation_row_view(row),
            environment_id=entity,
            project=env.project,
            name=env.name,
            replayed=outcome.replayed,
        )

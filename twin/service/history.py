"""The audit history: queried, followed, explained, verified."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from twin.domain import events as happened
from twin.domain.errors import NotFound
from twin.domain.identity import OperationId
from twin.domain.inbox import DeliveriesTried, DeliveryHandled, DeliveryTaken, inbox_id
from twin.domain.operations import BlockRaised, OperationAccepted, OperationEnded
from twin.domain.platform import Fact
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.store import EventFilter, Recorded, Store, Verification
from twin.service.principals import Principal
from twin.service.pulls_named import pull_named
from twin.service.rendering import operation_row_view
from twin.service.views import EventView, Explanation, OperationView, PageView, ProgressView

_POLL = 1.0
_TOLD_AGAIN = 5.0
"""Seconds after which a follower is told the same progress again."""

_TOLD = 500
"""The newest events of a component that explain it: one that is looked at often has very many."""


class History:
    """Queries over the events. An auditor sees all of it; a viewer that of their projects."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def pull(
        self, named: str, by: Principal, *, source: str | None = None, project: str | None = None
    ) -> EventFilter:
        """What finds all that belongs to a pull request: its own events, its environments', what was done for its sake
        elsewhere, and the deliveries that it heard of. Raises what `pull_named` raises."""
        pull = await pull_named(self._store, named, by, source=source, project=project)
        return EventFilter(pull=pull.id, inbox=inbox_id(pull.origin.forge))

    async def query(
        self, wanted: EventFilter, by: Principal, *, limit: int = 100, after: str | None = None
    ) -> PageView:
        """EventViews in commit order."""
        await self._require(wanted, by)
        page = await self._store.events(wanted, limit=limit, after=after)
        return PageView(items=tuple(event_view(each) for each in page.items), next=page.next)

    async def follow(
        self,
        wanted: EventFilter,
        by: Principal,
        *,
        after: str | None = None,
        idle: float = 15.0,
        progress_of: str | None = None,
    ) -> AsyncIterator[tuple[str, EventView] | ProgressView | None]:
        """(cursor, event) for each event from the cursor on, and each new one as it comes; None after every `idle`
        seconds without one, so that an edge can keep its connection alive. With `progress_of`, an environment that
        the principal may see: also what its running steps say, when that has changed, and every few seconds."""
        await self._require(wanted, by)
        cursor, quiet_since = after, time.monotonic()
        progress, told_at = ProgressView(progress={}), time.monotonic()
        with self._changes.watch(wanted.entity) as watch:
            while True:
                page = await self._store.events(wanted, limit=500, after=cursor)
                for each in page.items:
                    yield each.cursor, event_view(each)
                    quiet_since = time.monotonic()
                cursor = page.next or cursor
                if page.items:
                    continue
                if progress_of is not None:
                    before, progress = progress, ProgressView(progress=dict(await self._store.progress(progress_of)))
                    if progress != before or (progress.progress and time.monotonic() - told_at >= _TOLD_AGAIN):
                        yield progress
                        told_at = quiet_since = time.monotonic()
                if time.monotonic() - quiet_since >= idle:
                    yield None
                    quiet_since = time.monotonic()
                await watch.changed(_POLL)

    async def why(self, component: str, by: Principal, *, entity: str) -> Explanation:
        """From a component, or a resource by its external id, to the operations and people it stands for."""
        row = await self._store.entity(ENVIRONMENT.kind, entity)
        if row is None or not by.may("viewer", row.project):
            raise NotFound(f"there is no environment {entity!r}", field="environment")
        env = row.state
        instances = [*env.instances.values(), *env.departed.values()]
        named = [i for i in instances if component in (i.component, i.key, i.external_id)]
        name = named[-1].component if named else component
        if not named and name not in env.desired.components:
            raise NotFound(
                f"{row.project}/{row.name} has, and had, no component or resource {component!r}", field="component"
            )
        newest = max(named, key=lambda instance: instance.incarnation, default=None)
        events: deque[Recorded] = deque(maxlen=_TOLD)
        async for each in self._all(EventFilter(entity=entity, component=name)):
            events.append(each)
        last = next((each for each in reversed(events) if each.type == "step_succeeded"), None)
        wanting = [o.id for o in env.operations.values() if name in o.components]
        operations = await self._operations(events, wanting)
        return Explanation(
            environment=entity,
            component=name,
            incarnation=newest.incarnation if newest is not None else 1,
            external_id=newest.external_id if newest is not None else "",
            last_step=event_view(last) if last is not None else None,
            operations=operations,
            events=tuple(event_view(each) for each in events),
            summary=_told(name, last, operations),
        )

    async def verify(self, by: Principal, *, entity: str | None = None) -> Verification:
        """Recompute the hash chains. Needs auditor."""
        by.require("auditor", "*")
        return await self._store.verify(entity)

    async def _require(self, wanted: EventFilter, by: Principal) -> None:
        if wanted.entity is not None:
            row = await self._store.entity(ENVIRONMENT.kind, wanted.entity)
            if row is not None and by.may("viewer", row.project):
                return
        if wanted.pull is not None:
            row = await self._store.entity(PULL_REQUEST.kind, wanted.pull)
            if row is not None and by.may("viewer", row.project):
                return
        by.require("auditor" if wanted.project is None else "viewer", wanted.project or "*")

    async def _all(self, wanted: EventFilter) -> AsyncIterator[Recorded]:
        cursor: str | None = None
        while True:
            page = await self._store.events(wanted, limit=500, after=cursor)
            for each in page.items:
                yield each
            if not page.items or page.next is None:
                return
            cursor = page.next

    async def _operations(self, events: Iterable[Recorded], wanting: list[OperationId]) -> tuple[OperationView, ...]:
        """Those that the events name, and those that want something of it now."""
        named = (operation for each in events for operation in getattr(each.event, "operations", ()) or _own(each))
        ids = dict.fromkeys([*named, *wanting])
        rows = [await self._store.operation(operation) for operation in ids]
        return tuple(operation_row_view(row) for row in rows if row is not None)


def _own(recorded: Recorded) -> tuple[str, ...]:
    return (recorded.operation_id,) if recorded.operation_id is not None else ()


def _told(component: str, last: Recorded | None, operations: tuple[OperationView, ...]) -> str:
    if last is None:
        return f"{component}: no step has succeeded yet"
    ids = getattr(last.event, "operations", ())
    reasons = [
        f"{operation.signal} by {operation.by} at {operation.accepted_at:%F %T} UTC"
        + (f" (request {operation.request_id})" if operation.request_id else "")
        for operation in operations
        if operation.id in ids
    ]
    key = last.event.key
    because = " and ".join(reasons) if reasons else "the twin, keeping what was asked for"
    return f"{component}: last {key.verb} at {last.at:%F %T} UTC because of {because}"


def event_view(recorded: Recorded) -> EventView:
    """One event as people see it."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(recorded.event))
    data.pop("type", None)
    return EventView(
        id=recorded.cursor,
        environment=recorded.entity,
        project=recorded.project,
        name=recorded.name,
        tier=recorded.tier,
        seq=recorded.seq,
        at=recorded.at,
        actor=recorded.actor,
        type=recorded.type,
        summary=_summary(recorded.event),
        request_id=recorded.request_id,
        operation_id=recorded.operation_id,
        component=recorded.component,
        pull=recorded.pull,
        data=data,
    )


def _summary(event: Any) -> str:
    """One line for a person."""
    match event:
        case OperationAccepted(operation=operation):
            told = ", ".join(f"{name}={value}" for name, value in operation.arguments.items() if value not in ({}, []))
            return f"{operation.signal} accepted" + (f" ({told})" if told else "")
        case OperationEnded(operation_id=operation, outcome=outcome, error=error):
            return f"{operation} {outcome}" + (f": {error.message}" if error is not None else "")
        case happened.StepStarted(key=key, attempt=attempt):
            return f"{key.verb} {key.component} started, attempt {attempt}"
        case happened.StepSucceeded(key=key, adopted=adopted):
            return f"{key.verb} {key.component} succeeded" + (" (found and adopted)" if adopted else "")
        case happened.StepFailed(key=key, failure=failure):
            return f"{key.verb} {key.component} {failure.kind}: {failure.message}"
        case happened.StepLost(key=key):
            return f"{key.verb} {key.component}: the worker is gone, its effect unknown"
        case happened.StepStopped(key=key, message=message):
            return f"{key.verb} {key.component} stopped: {message}"
        case happened.ResultRefused(key=key, epoch=epoch, result=result):
            return f"late result refused: {key.verb} {key.component}, epoch {epoch}, {result}"
        case happened.DesiredChanged(generation=generation):
            return f"desired is generation {generation}"
        case happened.ComponentObserved(key=key, present=present, drift=drift):
            seen = "as applied" if not drift else "; ".join(drift.values())
            return f"{key.component} observed: {seen if present else 'absent'}"
        case happened.PlacementSwept(target=target, found=found):
            return f"{target} swept: {len(found)} left" if found else f"{target} swept: nothing left"
        case BlockRaised(key=key, message=message):
            return f"blocked by {key}: {message}"
        case happened.Abandoned(component=component, reason=reason):
            return f"{component} abandoned: {reason}"
        case DeliveryTaken(delivery=delivery, event=sent):
            return f"delivery {delivery} taken: {sent}"
        case DeliveryHandled(delivery=delivery, outcome=outcome, why=why):
            return f"delivery {delivery} {outcome}: {why}"
        case DeliveriesTried(waiting=waiting, message=message) if waiting:
            return f"{waiting} deliveries wait: {message}"
        case Fact(what=what, details=details):
            return what.replace("_", " ") + "".join(f" {name}={value}" for name, value in details.items())
        case _:
            return str(type(event).__struct_config__.tag).replace("_", " ")

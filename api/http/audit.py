"""The audit history over all environments: queried, exported, verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream
from msgspec import Struct, structs

from api.http import examples
from api.http.bodies import read_json
from api.http.csv import HEADER, row
from api.http.description import Answer, Body, Content, described, json_answer
from api.http.pages import Page, page_of
from api.http.parameters import After, Since, Until, moment
from api.http.streams import CSV, NDJSON, Stopping, stream
from api.services import Services
from twin.domain.errors import Invalid
from twin.domain.platform import PLATFORM_ID
from twin.ports.store import EventFilter, Verification
from twin.service.principals import Principal
from twin.service.principals import Request as Asked
from twin.service.views import EventView, PageView

_PAGE = 500
_MOST = 1000
_PR = (
    "All that belongs to a pull request: what happened to it, to its environments, and to what was delivered of it. "
    "42, or acme/guestbook#42; source names its preview source"
)

_EVENTS = Answer(
    says="A page of events in the order of their commits; or, as lines or table, all of them",
    contents=(
        Content(type=Page[EventView], example=Page(items=(examples.EVENT,), next=examples.EVENT.id)),
        Content(type=None, example=msgspec.json.encode(examples.EVENT).decode() + "\n", media_type=NDJSON),
        Content(type=None, example=HEADER.decode(), media_type=CSV),
    ),
)


class WhatToVerify(Struct, frozen=True):
    """One environment by its id, or, without it, everything."""

    environment: str | None = None


class AuditController(Controller):
    """`/v1/audit`"""

    path = "/v1/audit"
    tags = ("history",)

    @get("/", opt=described({200: _EVENTS}))
    async def query_audit(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        stopping: NamedDependency[Stopping],
        project: Annotated[str | None, QueryParameter(description="For example shop")] = None,
        tier: Annotated[str | None, QueryParameter(description="For example prod")] = None,
        environment: Annotated[str | None, QueryParameter(description="A name, an id, or project/name")] = None,
        component: Annotated[str | None, QueryParameter(description="For example db")] = None,
        actor: Annotated[str | None, QueryParameter(description="A name, or kind:name")] = None,
        type: Annotated[str | None, QueryParameter(description="For example step_failed")] = None,  # noqa: A002
        operation: Annotated[str | None, QueryParameter(description="The id of an operation")] = None,
        correlation: Annotated[str | None, QueryParameter(description="A request id")] = None,
        pr: Annotated[str | None, QueryParameter(description=_PR)] = None,
        source: Annotated[str | None, QueryParameter(description="With pr: its preview source")] = None,
        since: Since = None,
        until: Until = None,
        limit: Annotated[
            int | None, QueryParameter(ge=1, description="The most events; JSON: 100 unless given, at most 1000")
        ] = None,
        after: After = None,
    ) -> Response[Page[EventView]] | Stream:
        """Who did what, when, on what and why. Needs auditor, or viewer of the project that it is limited to."""
        if pr is None:
            if source is not None:
                raise Invalid("source is given without pr", field="source", mend="Give pr too, or leave source out.")
            scope, place = EventFilter(), _place(project, environment)
        else:
            # All of a pull request is of one project, but for its deliveries, which are of none.
            scope = await services.history.pull(pr, asked.by, source=source, project=project)
            place = _place(None, environment)
        wanted = structs.replace(
            scope,
            tier=tier,
            component=component,
            actor=actor,
            type=type,
            operation=operation,
            correlation=correlation,
            since=moment(since, "since"),
            until=moment(until, "until"),
            **place,
        )
        media_type = request.accept.best_match(["application/json", NDJSON, CSV])
        if media_type not in (NDJSON, CSV):
            size = min(limit or 100, _MOST)
            return Response(page_of(await services.history.query(wanted, asked.by, limit=size, after=after)))
        first = await services.history.query(wanted, asked.by, limit=min(limit or _PAGE, _PAGE), after=after)
        found = stopping.each(_all(services, wanted, asked.by, first, limit))
        return stream(_table(found) if media_type == CSV else _lines(found), media_type)

    @post(
        "/verifications",
        status_code=200,
        opt=described(
            {200: json_answer("What was checked, and every break found", Verification, examples.VERIFICATION)},
            body=Body(
                type=WhatToVerify,
                examples={"everything": {}, "one environment": {"environment": examples.ENVIRONMENT.id}},
                required=False,
            ),
            problems=(404,),
        ),
    )
    async def verify_audit(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> Verification:
        """Recompute the hash chains. Needs auditor. `heads` are for a checkpoint that is kept elsewhere."""
        given = await read_json(request, WhatToVerify) if await request.body() else WhatToVerify()
        if given.environment not in (None, PLATFORM_ID):
            await services.twins.get(given.environment, asked.by)
        return await services.history.verify(asked.by, entity=given.environment)


def _place(project: str | None, environment: str | None) -> dict[str, Any]:
    """`environment` may be an id, a name, or project/name."""
    if environment is None:
        return {"project": project}
    if environment.startswith("env_"):
        return {"project": project, "entity": environment}
    owner, slash, name = environment.rpartition("/")
    return {"project": owner if slash else project, "environment": name}


async def _all(
    services: Services, wanted: EventFilter, by: Principal, page: PageView, limit: int | None
) -> AsyncIterator[EventView]:
    sent = 0
    while True:
        for each in page.items:
            yield each
        sent += len(page.items)
        left = _PAGE if limit is None else min(_PAGE, limit - sent)
        # A page that is not full is the end of today: an export does not follow.
        if left <= 0 or page.next is None or len(page.items) < min(limit or _PAGE, _PAGE):
            return
        page = await services.history.query(wanted, by, limit=left, after=page.next)


async def _lines(found: AsyncIterator[EventView | None]) -> AsyncIterator[bytes]:
    async for each in found:
        if each is not None:
            yield msgspec.json.encode(each) + b"\n"


async def _table(found: AsyncIterator[EventView | None]) -> AsyncIterator[bytes]:
    yield HEADER
    async for each in found:
        if each is not None:
            yield row(each)

"""What happened to one environment: its events, its operations, and why a component is as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from api.http import examples
from api.http.description import Answer, Content, described, json_answer
from api.http.pages import Page, page_of
from api.http.parameters import After, EnvironmentIdPath, Limit
from api.http.streams import KEEP_ALIVE, PROGRESS, SSE, Stopping, server_sent, stream
from api.services import Services
from twin.ports.store import EventFilter
from twin.service.principals import Request as Asked
from twin.service.views import EventView, Explanation, OperationView, ProgressView

LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="For event streams: go on after this event")
]

WithProgress = Annotated[
    bool,
    QueryParameter(
        description="For event streams: between the events also, as server-sent events of the name `progress`, what "
        "running steps say of how far they are"
    ),
]

_EVENTS = Answer(
    says="A page, or, with Accept: text/event-stream, all from the cursor on and each new one as it comes",
    contents=(
        Content(type=Page[EventView], example=Page(items=(examples.EVENT,), next=examples.EVENT.id)),
        Content(type=None, example=f"id: {examples.EVENT.id}\ndata: {{…}}\n\n", media_type=SSE),
    ),
)


class EventController(Controller):
    """`/v1/environments/{id}/…`: the past."""

    path = "/v1/environments/{environment_id:str}"
    tags = ("history",)

    @get("/events", opt=described({200: _EVENTS}))
    async def list_events(
        self,
        request: Request[Any, Any, Any],
        environment_id: EnvironmentIdPath,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        stopping: NamedDependency[Stopping],
        limit: Limit = 100,
        after: After = None,
        last_event_id: LastEventId = None,
        progress: WithProgress = False,
    ) -> Response[Page[EventView]] | Stream:
        """The events of an environment, oldest first; `next` of the last page is where a follower goes on."""
        await services.twins.get(environment_id, asked.by)
        wanted = EventFilter(entity=environment_id)
        follows = request.accept.best_match(["application/json", SSE]) == SSE
        start = last_event_id if follows and last_event_id else after
        page = await services.history.query(wanted, asked.by, limit=1 if follows else limit, after=start)
        if not follows:
            return Response(page_of(page))
        progress_of = environment_id if progress else None
        found = services.history.follow(wanted, asked.by, after=start, progress_of=progress_of)
        return stream(_followed(found, stopping), SSE)

    @get(
        "/operations",
        opt=described(
            {200: json_answer("Newest first", Page[OperationView], Page(items=(examples.OPERATION,)))},
        ),
    )
    async def list_operations(
        self,
        environment_id: EnvironmentIdPath,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        limit: Limit = 50,
        after: After = None,
    ) -> Page[OperationView]:
        """The operations of an environment."""
        return page_of(await services.twins.operations(environment_id, asked.by, limit=limit, after=after))

    @get("/why", opt=described({200: json_answer("From the resource to the people", Explanation, examples.WHY)}))
    async def explain_component(
        self,
        environment_id: EnvironmentIdPath,
        component: Annotated[str, QueryParameter(description="A component, or the external id of a resource")],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> Explanation:
        """Why a component is as it is: the step that made it so, the operation, the signal, the actor, the request."""
        return await services.history.why(component, asked.by, entity=environment_id)


async def _followed(
    found: AsyncIterator[tuple[str, EventView] | ProgressView | None], stopping: Stopping
) -> AsyncIterator[bytes]:
    # Not before the first event: the connection's headers go out at once.
    yield KEEP_ALIVE
    async for item in stopping.each(found):
        if item is None:
            yield KEEP_ALIVE
        elif isinstance(item, ProgressView):
            yield server_sent(msgspec.json.encode(item), name=PROGRESS)
        else:
            yield server_sent(msgspec.json.encode(item[1]), item[0])

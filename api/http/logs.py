"""What a component wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from api.http import examples
from api.http.description import Answer, Content, described
from api.http.parameters import EnvironmentIdPath
from api.http.streams import KEEP_ALIVE, NDJSON, SSE, Stopping, server_sent, stream
from api.services import Services
from twin.ports.provider import LogLine
from twin.service.principals import Request as Asked

_LINES = Answer(
    says="One JSON object per line; or, with Accept: text/event-stream, one per event",
    contents=(
        Content(type=None, example=msgspec.json.encode(examples.LOG_LINE).decode() + "\n", media_type=NDJSON),
        Content(type=None, example="data: {…}\n\n", media_type=SSE),
    ),
)


@get("/v1/environments/{environment_id:str}/logs", tags=["logs"], opt=described({200: _LINES}))
async def read_logs(
    request: Request[Any, Any, Any],
    environment_id: EnvironmentIdPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
    stopping: NamedDependency[Stopping],
    component: Annotated[str | None, QueryParameter(description="Without it: the first that keeps logs")] = None,
    lines: Annotated[int, QueryParameter(ge=0, le=10_000, description="How many of the last ones")] = 100,
    follow: Annotated[bool, QueryParameter(description="Then each new one as it comes")] = False,
) -> Response[bytes] | Stream:
    """The lines that a component wrote."""
    found = await services.logs.read(environment_id, component, asked.by, lines=lines, follow=follow)
    media_type = SSE if request.accept.best_match([NDJSON, SSE]) == SSE else NDJSON
    if not follow:  # read before answering, so that what goes wrong can be said
        return Response(b"".join([_shown(line, media_type) async for line in found]), media_type=media_type)
    return stream(_followed(found, media_type, stopping), media_type)


async def _followed(found: AsyncIterator[LogLine], media_type: str, stopping: Stopping) -> AsyncIterator[bytes]:
    async for line in stopping.each(found):
        if line is not None:
            yield _shown(line, media_type)
        elif media_type == SSE:
            yield KEEP_ALIVE


def _shown(line: LogLine, media_type: str) -> bytes:
    plain = msgspec.json.encode(line)
    return server_sent(plain) if media_type == SSE else plain + b"\n"

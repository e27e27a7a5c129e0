"""Refusals and failures as problem documents (RFC 9457): every answer that is not a success looks like this."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from twin.domain.errors import Forbidden, Invalid, Problem, StepFailure, Unavailable
from twin.service.principals import Request as Asked

PROBLEM_JSON = "application/problem+json"
_URN = "urn:twin:problem:"
REFUSALS = "refusals"
"""Where the application's state keeps what records them."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """What is wrong, who can mend it and how. `code` is stable; `field` names the part of the request to correct;
    `retryable`: the same request may succeed later; `request_id` finds it in logs and history."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    mend: str | None = None
    retryable: bool = False
    request_id: str = ""
    details: dict[str, Any] = msgspec.field(default_factory=dict)


class Malformed(Problem):
    """A body that is not what its Content-Type says."""

    code = "malformed"
    status = 400


class UnsupportedMediaType(Problem):
    """A body of another type than the route takes."""

    code = "unsupported_media_type"
    status = 415


def document(problem: Problem, request_id: str) -> ProblemDocument:
    """The problem as it is sent."""
    return ProblemDocument(
        type=f"{_URN}{problem.code}",
        title=problem.code.replace("_", " ").capitalize(),
        status=problem.status,
        detail=problem.message,
        code=problem.code,
        field=problem.field,
        mend=problem.mend,
        retryable=problem.retryable,
        request_id=request_id,
        details=problem.details,
    )


def answer(
    request: Request[Any, Any, Any], problem: Problem, headers: Mapping[str, str] | None = None
) -> Response[ProblemDocument]:
    """The problem as a response; the access log names its code."""
    state = request.scope["state"]
    state["problem"] = problem.code
    more = dict(headers or {})
    if problem.status == 401:
        more["WWW-Authenticate"] = 'Bearer realm="twin"'
    if problem.status == 503:
        more.setdefault("Retry-After", "1")
    return Response(
        document(problem, state["request_id"]),
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=more,
        background=_recorded(request, problem) if isinstance(problem, Forbidden) else None,
    )


def _recorded(request: Request[Any, Any, Any], refusal: Forbidden) -> BackgroundTask:
    """After the answer, the refusal goes into the audit history."""
    scope = request.scope
    asked = Asked(request.user, scope["state"]["request_id"])
    what = f"{request.method} {scope['path']}"
    return BackgroundTask(request.app.state[REFUSALS].record, asked, what, refusal.message)


def _told(request: Request[Any, Any, Any], problem: Problem) -> Response[ProblemDocument]:
    return answer(request, problem)


def _of_provider(request: Request[Any, Any, Any], failure: StepFailure) -> Response[ProblemDocument]:
    return answer(request, Unavailable(failure.message))


def _of_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Response[ProblemDocument]:
    found = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    name = found.get("key")
    message = str(found.get("message") or "a parameter is missing or wrong").replace("`", "")
    if not name and "Missing required" in error.detail:  # e.g. "Missing required query parameter 'component' for …"
        name, message = error.detail.split("'")[1], "is required"
    problem = Invalid(f"{name}: {message}" if name else message, field=name, mend="See /schema/openapi.json.")
    return answer(request, problem)


_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_MESSAGES = {
    404: ("there is nothing at this path", "See /schema/openapi.json for the paths there are."),
    405: ("this path does not take this method", "See the Allow header."),
    413: ("the body is larger than this path takes", None),
}


def _of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[ProblemDocument]:
    status = error.status_code
    if status >= 500:
        return _unexpected(request, error)
    message, mend = _MESSAGES.get(status, (error.detail, None))
    problem = Problem(message, mend=mend, code=_CODES.get(status, HTTPStatus(status).name.casefold()))
    problem.status = status
    return answer(request, problem, error.headers)


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    log.error("request failed", exc_info=error, path=request.scope["path"])
    problem = Problem(
        "something went wrong in the service", code="internal", mend="Find the request id in the service's log."
    )
    problem.status = 500
    return answer(request, problem)


HANDLERS: ExceptionHandlersMap = {
    Problem: _told,
    StepFailure: _of_provider,
    ValidationException: _of_parameters,
    HTTPException: _of_http,
    Exception: _unexpected,
}

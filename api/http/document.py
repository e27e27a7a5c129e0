"""The OpenAPI 3.1 document: paths and parameters from Litestar, schemas from msgspec, the rest from each route.

Litestar's own schemas of structs know neither tagged unions nor msgspec's names, so all schemas of bodies and answers
come from msgspec, which is also what reads and writes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.router import Router
from litestar.routes import HTTPRoute

from api.http.authentication import PUBLIC
from api.http.description import KEY, Answer, Body, Described
from api.http.problems import PROBLEM_JSON, ProblemDocument, document
from twin.domain.errors import Problem
from twin.domain.signals import BY_NAME

_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("malformed", "the body is not JSON: truncated"),
    401: ("unauthenticated", "no valid token was given"),
    403: ("forbidden", "ci is not developer of project 'shop'"),
    404: ("not_found", "project 'shop' has no environment 'dve'"),
    408: ("too_slow", "the body did not come to its end within 30 s"),
    409: ("conflict", "project 'shop' has an environment 'dev' already"),
    412: ("precondition_failed", "If-Match names version 7; the twin is at 9"),
    413: ("too_large", "the body is larger than this path takes"),
    415: ("unsupported_media_type", "Content-Type is 'text/plain'"),
    422: ("invalid", "replicas is 99; the maximum is 5"),
    500: ("internal", "something went wrong in the service"),
    503: ("unavailable", "the database cannot be reached"),
}
_EVERYWHERE = (401, 403, 422, 500, 503)
_WITH_BODY = (400, 413, 415)
_REF = "#/components/schemas/{name}"


def openapi_config() -> OpenAPIConfig:
    """Serves the document at /schema/openapi.json, to everybody."""
    return OpenAPIConfig(
        title="twin",
        version="1",
        description="Environments as durable twins: they provision, sleep, answer signals and remember everything.",
        render_plugins=[_Document(path=["/openapi.json", "/"])],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt=PUBLIC),
    )


class _Document(JsonRenderPlugin):
    _rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The finished document; made once."""
        if self._rendered is None:
            self._rendered = msgspec.json.encode(_finished(request.app, openapi_schema))
        return self._rendered


def _finished(app: Litestar, begun: dict[str, Any]) -> dict[str, Any]:
    routes = list(_routes(app))
    types = [type_ for _, _, _, told in routes for type_ in _types(told)]
    schemas = _Schemas([ProblemDocument, *types])
    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler, told in routes:
        operation = dict(begun["paths"][path][method])
        paths.setdefault(path, {})[method] = _operation(operation, handler, told, schemas)
    bearer = {"type": "http", "scheme": "bearer", "description": "A token of this twin (TWIN_TOKEN)"}
    components = {
        "schemas": schemas.components,
        "responses": {f"Problem{status}": _problem(status) for status in _PROBLEMS},
        "securitySchemes": {"bearer": bearer},
    }
    return {**begun, "openapi": "3.1.0", "paths": paths, "components": components, "security": [{"bearer": []}]}


def _routes(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler, Described]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if KEY in handler.opt:
                    yield route.path_format, method.lower(), handler, handler.opt[KEY]


def _types(told: Described) -> Iterator[Any]:
    contents = [content for answer in told.answers.values() for content in answer.contents]
    for type_ in [*(content.type for content in contents), told.body.type if told.body is not None else None]:
        if type_ is not None:
            yield type_


class _Schemas:
    """JSON Schemas of the types and of all that they mention."""

    def __init__(self, types: list[Any]) -> None:
        found, components = msgspec.json.schema_components(types, ref_template=_REF)
        self._found = list(zip(types, found, strict=True))
        self.components: dict[str, Any] = {name: _with_times(schema) for name, schema in components.items()}
        for signal in BY_NAME.values():
            if signal.folds_into is not None and signal.__name__ in self.components:
                folded = self.components[signal.__name__]["properties"][signal.folds_into]
                self.components[signal.__name__]["additionalProperties"] = folded["additionalProperties"]

    def of(self, type_: Any) -> dict[str, Any]:
        """The schema of one of the types."""
        schema = dict(next(schema for each, schema in self._found if each is type_ or each == type_))
        if "discriminator" in schema:
            schema["oneOf"] = schema.pop("anyOf")
        return schema


def _with_times(schema: dict[str, Any]) -> dict[str, Any]:
    """All our times are named `at` or `…_at`; msgspec says `format` only of types that demand a zone."""
    for name, value in schema.get("properties", {}).items():
        if name == "at" or name.endswith("_at"):
            for each in [value, *value.get("anyOf", [])]:
                if each.get("type") == "string":
                    each["format"] = "date-time"
    return schema


def _operation(
    operation: dict[str, Any], handler: HTTPRouteHandler, told: Described, schemas: _Schemas
) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(handler.fn) or "").partition("\n")
    operation |= {"operationId": handler.handler_name, "summary": summary.rstrip("."), "description": more.strip()}
    operation["parameters"] = [_parameter(each) for each in operation.get("parameters", ())]
    operation["responses"] = {str(status): _answer(answer, schemas) for status, answer in told.answers.items()}
    statuses = {
        *told.problems,
        *((500,) if told.public else _EVERYWHERE),
        *(_WITH_BODY if told.body is not None else ()),
    }
    if any(parameter["in"] == "path" for parameter in operation["parameters"]):
        statuses.add(404)
    operation["responses"] |= {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)
    }
    if told.body is not None:
        operation["requestBody"] = _body(told.body, schemas)
    if told.public:
        operation["security"] = []
    return {key: value for key, value in operation.items() if value not in ("", None) and key != "deprecated"}


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    """Without what is false anyway, and without null: it can be left out, but not sent."""
    schema = {key: value for key, value in parameter["schema"].items() if key != "description"}
    kinds = [kind for kind in schema.pop("oneOf", ()) if kind != {"type": "null"}]
    for kind in kinds:
        schema |= kind
    if isinstance(schema.get("type"), list):
        schema |= {"type": "string", "enum": [value for value in schema["enum"] if value is not None]}
    if schema.get("default", ...) is None:
        del schema["default"]
    return {key: value for key, value in parameter.items() if value is not False} | {"schema": schema}


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    headers = {"X-Request-Id": "The request's id in logs and history", **answer.headers}
    shown: dict[str, Any] = {
        "description": answer.says,
        "headers": {name: {"description": says, "schema": {"type": "string"}} for name, says in headers.items()},
    }
    if answer.contents:
        shown["content"] = {
            content.media_type: {
                "schema": schemas.of(content.type) if content.type is not None else {"type": "string"},
                "example": msgspec.to_builtins(content.example),
            }
            for content in answer.contents
        }
    return shown


def _body(body: Body, schemas: _Schemas) -> dict[str, Any]:
    shown: dict[str, Any] = {"schema": schemas.of(body.type)} if body.type is not None else {}
    if body.examples:
        shown["examples"] = {name: {"value": value} for name, value in body.examples.items()}
    return {"required": body.required, "content": {body.media_type: shown}}


def _problem(status: int) -> dict[str, Any]:
    code, message = _PROBLEMS[status]
    problem = Problem(message, code=code)
    problem.status = status
    problem.retryable = status == 503
    example = msgspec.to_builtins(document(problem, "req_01JZX4T2M8Q3V5W7Y9A1B3C5D7"))
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name="ProblemDocument")}, "example": example}}
    return {"description": HTTPStatus(status).phrase, "content": content}

"""The OpenAPI document: complete, without loose ends, and its examples are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from litestar.routes import HTTPRoute

from tests.api.http.world import World
from twin.domain.signals import BY_NAME, parse


@pytest.fixture
async def document(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/schema/openapi.json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(reference), **rest}:
            yield reference
            yield from references(rest)
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def check(document: dict[str, Any], schema: dict[str, Any], example: Any) -> None:
    whole = schema | {"components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(example)


async def test_every_route_is_described(world: World, document: dict[str, Any]) -> None:
    there = {
        f"{method} {route.path_format}"
        for route in world.app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods
        if method != "OPTIONS"
    }
    assert {name for name, _ in operations(document)} == there
    assert len(there) == 54, "a new route is a decision: describe it, test it, and count it here"


async def test_nothing_hangs_in_the_air(document: dict[str, Any]) -> None:
    for reference in references(document):
        _, kind, name = reference.removeprefix("#/").split("/")
        assert name in document["components"][kind], reference
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name
        for parameter in operation["parameters"]:
            assert parameter["description"], f"{name} {parameter['name']}"
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])
            assert "null" not in str(parameter["schema"]), "a parameter is left out, it cannot be null"
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_every_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, shown in operation["responses"].items():
            answer = shown
            if "$ref" in shown:
                answer = document["components"]["responses"][shown["$ref"].rsplit("/", 1)[1]]
            assert answer["description"], f"{name} {status}"
            for content in answer.get("content", {}).values():
                check(document, content["schema"], content["example"])


async def test_every_body_has_examples_that_fit(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type == "application/json":
                assert content["examples"], name
                for example in content["examples"].values():
                    check(document, content["schema"], example["value"])


async def test_all_but_health_doors_and_what_forges_sign_needs_the_bearer(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{"bearer": []}]
    public = {name for name, operation in operations(document) if operation.get("security") == []}
    health, signed = {"GET /healthz", "GET /readyz"}, {"POST /webhooks/{kind}/{place}"}
    door = "/doors/{environment_id}/{component}"
    login, asking = {f"GET {door}"}, {f"POST {door}", f"GET {door}/pass", f"GET {door}/session"}
    assert public == health | signed | login | asking
    for name, operation in operations(document):
        assert ("401" in operation["responses"]) is (name not in health | login), name


async def test_signals_are_one_of_many_by_name(document: dict[str, Any]) -> None:
    path = "/v1/environments/{environment_id}/signals"
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = content["schema"]
    assert schema["discriminator"]["propertyName"] == "signal"
    assert schema["discriminator"]["mapping"].keys() == BY_NAME.keys() - {"create"}
    assert len(schema["oneOf"]) == len(BY_NAME) - 1
    assert document["components"]["schemas"]["Scale"]["additionalProperties"] == {"type": "integer"}
    assert content["examples"].keys() == BY_NAME.keys() - {"create"}
    for example in content["examples"].values():
        parse(example["value"])


async def test_times_are_times(document: dict[str, Any]) -> None:
    event = document["components"]["schemas"]["EventView"]
    assert event["properties"]["at"] == {"type": "string", "format": "date-time"}
    parameters = document["paths"]["/v1/audit"]["get"]["parameters"]
    since = next(parameter for parameter in parameters if parameter["name"] == "since")
    assert since["schema"] == {"type": "string", "format": "date-time"}

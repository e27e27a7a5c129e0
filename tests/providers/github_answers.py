"""GitHub's answers, with every field that its documentation requires: they are grown from githubkit's models, which are
made of GitHub's own description of its API."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from githubkit_schemas.latest import models

from twin.testing.loopback import Answer

Json = dict[str, Any]

ELSEWHERE = "https://elsewhere.invalid"
"""Where all addresses in answers and deliveries lead that are for programs. GitHub's own are on its host; a client that
knows where its GitHub is has no use for any of them."""


def answer_of(status: int, body: Any) -> Answer:
    return Answer(status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode())


def label() -> Json:
    look = {"description": None, "color": "ff0000", "default": False}
    return {"id": 1, "node_id": "x", "url": "https://github.example/labels/x", **look}


def without_sha(status: Json) -> Json:
    return {name: value for name, value in status.items() if name != "sha"}


def told_comment(comment: Json) -> Json:
    user = grown(models.SimpleUser, login=comment["author"])
    given = {name: comment[name] for name in ("id", "body", "html_url", "created_at")}
    return grown(models.IssueComment, user=user, issue_url=f"{ELSEWHERE}/issues/{comment['number']}", **given)


def told_deployment(deployment: Json) -> Json:
    creator = grown(models.SimpleUser, login=deployment["author"])
    given = {name: deployment[name] for name in ("id", "sha", "environment")}
    return grown(models.Deployment, creator=creator, **given)


def told_deployment_status(said: Json) -> Json:
    return grown(models.DeploymentStatus, **said)


def grown(model: Any, **values: Any) -> Json:
    """An answer with these values, and something valid in every other field that the model requires."""
    return {**_seed(model), **values}


@cache
def _seed(model: Any) -> Json:
    schema = model.model_json_schema(by_alias=True)
    seed: Json = _grow(schema, schema.get("$defs", {}))
    model.model_validate(seed)
    return seed


def _grow(schema: Json, known: Json) -> Any:
    if "$ref" in schema:
        return _grow(known[schema["$ref"].rsplit("/", 1)[1]], known)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            null = any(each.get("type") == "null" for each in schema[choice])
            return None if null else _grow(schema[choice][0], known)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        needed = schema.get("required", ())
        return {name: _addressed(name, _grow(schema["properties"][name], known)) for name in needed}
    if kind == "string":
        return "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else ""
    return {"integer": 0, "number": 0, "boolean": False, "array": [], "null": None}.get(kind or "")


def _addressed(name: str, value: Any) -> Any:
    return f"{ELSEWHERE}/{name}" if value == "" and (name == "url" or name.endswith("_url")) else value

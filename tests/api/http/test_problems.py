"""Every answer that is no success is a problem document; every answer says its request id."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.http.world import GZIP, World, token
from twin import logs
from twin.domain.errors import Unavailable

LONG = "x" * (1024 * 1024)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("json", "debug", stream=stream)
    yield stream
    logs.configure("json", "info", stream=io.StringIO())


async def test_a_problem_has_exactly_these_members(http: httpx.AsyncClient, environment: str) -> None:
    answer = await http.get("/v1/projects/shop/environments/dve", headers={"X-Request-Id": "me-1"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:twin:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "project 'shop' has no environment 'dve'",
        "code": "not_found",
        "field": "name",
        "mend": "Did you mean 'dev'?",
        "retryable": False,
        "request_id": "me-1",
        "details": {"near": ["dev"]},
    }


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code", "field"),
    [
        ("GET", "/v1/nope", {}, 404, "not_found", None),
        ("PUT", "/v1/me", {}, 405, "method_not_allowed", None),
        ("POST", "/v1/tokens", {"json": {"name": "a"}}, 422, "invalid", "roles"),
        ("POST", "/v1/tokens", {"json": {"name": "a", "roles": [["*", "king"]]}}, 422, "invalid", "roles[0][1]"),
        ("POST", "/v1/tokens", {"json": {"nam": "a"}}, 422, "invalid", "nam"),
        ("POST", "/v1/tokens", {"json": {"name": "me", "roles": [["*", "viewer"]]}}, 409, "conflict", "name"),
        ("PUT", "/v1/projects/shop/members/ada", {"json": {"role": "boss"}}, 422, "invalid", "role"),
        ("PUT", "/v1/projects/shop/members/ada", {"json": {"until": "soon"}}, 422, "invalid", "until"),
        ("POST", "/v1/environments/env_1/credentials/reveal", {"json": {}}, 422, "invalid", "reason"),
        ("POST", "/v1/tokens", {"json": ["a"]}, 422, "invalid", "body"),
        ("POST", "/v1/tokens", {"json": {"name": "a\0", "roles": []}}, 422, "invalid", "body"),
        (
            "POST",
            "/v1/tokens",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            "malformed",
            None,
        ),
        (
            "POST",
            "/v1/tokens",
            {"content": b'{"name":"\xff"}', "headers": {"Content-Type": "application/json"}},
            400,
            "malformed",
            None,
        ),
        ("POST", "/v1/tokens", {"content": b"{}"}, 415, "unsupported_media_type", "Content-Type"),
        ("POST", "/v1/tokens", {"json": {"name": LONG}}, 413, "too_large", None),
        ("POST", "/v1/blueprints", {"content": b"x" * 2_000_000, "headers": GZIP}, 413, "too_large", None),
        ("POST", "/v1/blueprints", {"content": b"x", "headers": GZIP}, 422, "invalid", "bundle"),
        ("POST", "/v1/blueprints", {"json": {}}, 415, "unsupported_media_type", "Content-Type"),
        ("GET", "/v1/audit?limit=0", {}, 422, "invalid", "limit"),
        ("GET", "/v1/audit?limit=many", {}, 422, "invalid", "limit"),
        ("GET", "/v1/audit?since=yesterday", {}, 422, "invalid", "since"),
        ("GET", "/v1/audit?until=2026-01-05T09:00:00", {}, 422, "invalid", "until"),
        ("GET", "/v1/audit?until=9999-12-31T23:59:59-10:00", {}, 422, "invalid", "until"),
        ("GET", "/v1/audit?projcet=shop", {}, 422, "invalid", "projcet"),
        ("GET", "/v1/audit?actor=%00", {}, 422, "invalid", "actor"),
        ("GET", "/v1/audit?after=nonsense", {}, 422, "invalid", "after"),
        ("GET", "/v1/environments?label=team", {}, 422, "invalid", "label"),
        ("GET", "/v1/environments?status=happy", {}, 422, "invalid", "status"),
        ("GET", "/v1/environments/env_1/why", {}, 422, "invalid", "component"),
        ("GET", "/v1/operations/op_1?wait=61", {}, 422, "invalid", "wait"),
        ("GET", "/v1/operations/op_1", {}, 404, "not_found", "operation"),
        ("DELETE", "/v1/environments/env_1", {"headers": {"If-Match": "7"}}, 422, "invalid", "If-Match"),
        (
            "DELETE",
            "/v1/environments/env_1",
            {"headers": {"Idempotency-Key": "two words"}},
            422,
            "invalid",
            "Idempotency-Key",
        ),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(
    http: httpx.AsyncClient, method: str, path: str, sent: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    answer = await http.request(method, path, **sent)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field), answer.text
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["detail"], "a person is told what is wrong"


@pytest.mark.parametrize(
    ("method", "path", "body", "detail", "mend"),
    [
        (
            "PUT",
            "/v1/projects/shop/members/ada",
            {"role": "bos"},
            "role is 'bos'; it must be admin, developer, operator or viewer",
            "Known: admin, developer, operator, viewer.",
        ),
        (
            "POST",
            "/v1/tokens",
            {"name": "a", "roles": [["*", "admn"]]},
            "roles[0][1] is 'admn'; it must be admin, auditor, developer, operator or viewer",
            "Did you mean 'admin'?",
        ),
        (
            "PUT",
            "/v1/projects/shop/members/ada",
            {"until": "soon"},
            "until is 'soon', which is neither a time nor how long from now",
            "Write it like 2030-03-01T12:00:00Z, or like 8h, 30m or 7d.",
        ),
        (
            "POST",
            "/v1/environments/{env}/credentials/reveal",
            {},
            "reason is missing",
            "Give it. See /schema/openapi.json.",
        ),
        (
            "POST",
            "/v1/environments/{env}/credentials/reveal",
            {"reason": "why", "component": "nope"},
            "shop/dev has no component 'nope'; it has: {components}",
            "Known: {components}.",
        ),
        (
            "POST",
            "/v1/environments/{env}/signals",
            {"signal": "rotate_credentials", "component": "nope"},
            "shop/dev has no component 'nope'; it has: {components}",
            "Known: {components}.",
        ),
        (
            "POST",
            "/v1/environments/{env}/signals",
            {"signal": "remove_members", "names": ["nobody"]},
            "'nobody' is no member of shop/dev itself",
            "See who is: twin member ls shop/dev",
        ),
        (
            "POST",
            "/v1/environments/{env}/signals",
            {"signal": "clone", "name": "pr-1", "hold": "0s"},
            "hold is '0s', which protects nothing",
            "Give it time to copy, such as 2h; without one it is 1d.",
        ),
    ],
)
async def test_it_is_said_what_is_wrong_and_what_helps(
    http: httpx.AsyncClient, environment: str, method: str, path: str, body: dict[str, Any], detail: str, mend: str
) -> None:
    view = (await http.get(f"/v1/environments/{environment}")).json()
    known = ", ".join(sorted(each["name"] for each in view["components"]))
    problem = (await http.request(method, path.replace("{env}", environment), json=body)).json()
    assert problem["detail"] == detail.replace("{components}", known)
    assert problem["mend"] == mend.replace("{components}", known)


@pytest.mark.parametrize("depth", [65, 900, 100_000])
async def test_a_body_cannot_exhaust_the_stack(http: httpx.AsyncClient, environment: str, depth: int) -> None:
    content = b'{"signal":"update","inputs":{"greeting":' + b"[" * depth + b"]" * depth + b"}}"
    path = f"/v1/environments/{environment}/signals"
    answer = await http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("/v1/audit", ["e", 2**63, 2**63, "x", 2**63]),
        ("/v1/audit", ["e", 10**30, 1, "x", 1]),
        ("/v1/audit", ["n", "env_1"]),
        ("/v1/environments", ["o", 1]),
        ("/v1/environments", "env_1"),
    ],
)
async def test_a_forged_cursor_is_refused(http: httpx.AsyncClient, path: str, position: Any) -> None:
    forged = base64.urlsafe_b64encode(json.dumps(position).encode()).decode()
    answer = await http.get(path, params={"after": forged})
    assert (answer.status_code, answer.json()["field"]) == (422, "after"), answer.text


async def test_a_wrong_method_names_the_right_ones(http: httpx.AsyncClient) -> None:
    assert "GET" in (await http.put("/v1/me")).headers["Allow"]


@pytest.mark.parametrize("authorization", [None, "Bearer twin_wrong", "Basic cm9vdDo=", "Bearer", "Bearer \xe9"])
async def test_without_a_valid_token_there_is_one_answer(world: World, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    async with world.client(None) as nobody:
        answer = await nobody.get("/v1/me", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["detail"] == "no valid token was given", "the reason would help only who guesses"


async def test_health_and_schema_need_no_token(world: World) -> None:
    async with world.client(None) as nobody:
        for path in ("/healthz", "/readyz", "/schema/openapi.json", "/schema"):
            assert (await nobody.get(path)).status_code == 200, path


async def test_readiness_says_why_not_and_life_goes_on(world: World, http: httpx.AsyncClient) -> None:
    world.unready = Unavailable("the database is away", mend="Start it.")
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["retryable"] is True
    assert answer.json()["detail"] == "the database is away"
    assert (await http.get("/healthz")).status_code == 200


async def test_an_unexpected_error_tells_the_log_and_not_the_caller(
    world: World, http: httpx.AsyncClient, logged: io.StringIO
) -> None:
    world.unready = RuntimeError("the inner workings")
    answer = await http.get("/readyz", headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "inner workings" not in answer.text
    lines = logged.getvalue().splitlines()
    assert any("inner workings" in line and "Traceback" in line and '"find-me"' in line for line in lines)


@pytest.mark.parametrize(("given", "kept"), [("a-b_C.1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)])
async def test_a_sane_request_id_is_kept_and_another_replaced(http: httpx.AsyncClient, given: str, kept: bool) -> None:
    answer = await http.get("/v1/me", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert answer.headers["X-Request-Id"].startswith("req_") is not kept


async def test_the_request_id_is_in_answer_log_and_history_and_the_token_in_none(
    http: httpx.AsyncClient, environment: str, logged: io.StringIO
) -> None:
    answer = await http.post(
        f"/v1/environments/{environment}/signals", json={"signal": "protect"}, headers={"X-Request-Id": "r-7"}
    )
    events = (await http.get("/v1/audit", params={"correlation": "r-7"})).json()["items"]
    assert answer.headers["X-Request-Id"] == "r-7"
    assert answer.json()["operation"]["request_id"] == "r-7"
    assert events, "each event of the request carries its id"
    assert all(event["request_id"] == "r-7" for event in events)
    assert '"request_id":"r-7"' in logged.getvalue()
    assert '"status":202' in logged.getvalue()
    assert token("root") not in logged.getvalue()


async def test_every_answer_keeps_browsers_careful(http: httpx.AsyncClient) -> None:
    for path in ("/v1/me", "/healthz", "/v1/nope", "/schema/openapi.json"):
        headers = (await http.get(path, headers={"Origin": "http://evil.example"})).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Cache-Control"] == "no-store", path
        assert "Access-Control-Allow-Origin" not in headers, path

"""The past over HTTP: events, audit queries and exports, why, verification."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx

from api.http.csv import row
from tests.api.http.world import World
from twin.domain.decider import Cause
from twin.domain.identity import TWIN, Actor
from twin.domain.previews.inputs import Hint
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.domain.targets import Target
from twin.ports.store import Tx
from twin.service.views import EventView


async def protect(http: httpx.AsyncClient, environment: str, request_id: str = "r-1") -> None:
    path = f"/v1/environments/{environment}/signals"
    answer = await http.post(path, json={"signal": "protect"}, headers={"X-Request-Id": request_id})
    assert answer.status_code == 202, answer.text


async def test_events_page_by_cursor(http: httpx.AsyncClient, environment: str) -> None:
    await protect(http, environment)
    path = f"/v1/environments/{environment}/events"
    everything = (await http.get(path)).json()["items"]
    collected: list[dict[str, Any]] = []
    after: str | None = None
    while page := (await http.get(path, params={"limit": 2} | ({"after": after} if after else {}))).json()["items"]:
        collected += page
        after = page[-1]["id"]
    assert collected == everything
    assert [event["seq"] for event in everything] == list(range(1, len(everything) + 1))
    assert everything[0]["at"].endswith("Z")


async def test_operations_are_newest_first(http: httpx.AsyncClient, environment: str) -> None:
    await protect(http, environment)
    path = f"/v1/environments/{environment}/operations"
    first = (await http.get(path, params={"limit": 1})).json()
    second = (await http.get(path, params={"limit": 1, "after": first["next"]})).json()
    assert [first["items"][0]["signal"], second["items"][0]["signal"]] == ["protect", "create"]


async def test_audit_filters(http: httpx.AsyncClient, environment: str) -> None:
    await protect(http, environment, "r-9")
    body = {"name": "dev", "blueprint": "guestbook", "tier": "preview"}
    assert (await http.post("/v1/projects/other/environments", json=body)).status_code == 202

    async def found(**params: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await http.get("/v1/audit", params=params)).json()["items"]
        return items

    everything = await found()
    mine = [event for event in everything if event["environment"] == environment]
    assert 0 < len(mine) < len(everything)
    assert await found(environment=environment) == mine
    assert await found(environment="shop/dev") == mine
    assert await found(environment="dev", project="shop") == mine
    assert await found(project="shop") == mine
    assert {event["project"] for event in await found(environment="dev")} == {"shop", "other"}
    assert {event["tier"] for event in await found(tier="preview")} == {"preview"}
    assert {event["request_id"] for event in await found(correlation="r-9")} == {"r-9"}
    assert {event["type"] for event in await found(type="created")} == {"created"}
    assert await found(actor="token:root") == everything
    assert await found(actor="nobody") == []
    operation = (await found(correlation="r-9", type="operation_accepted"))[0]["operation_id"]
    assert {event["operation_id"] for event in await found(operation=operation)} == {operation}
    at = mine[-1]["at"]
    assert await found(since=at, environment=environment) == [event for event in mine if event["at"] >= at]
    assert await found(until=at, environment=environment) == [event for event in mine if event["at"] < at]


def heard(tx: Tx, entity: str, hint: Hint) -> None:
    tx.transition(PULL_REQUEST.kind, entity, hint, Cause(TWIN))


async def test_all_of_a_pull_request(world: World, http: httpx.AsyncClient) -> None:
    body = {"forge": "gitea/main", "project": "shop", "blueprint": "guestbook"}
    await world.store.transact(lambda tx: tx.put_target(Target(name="gitea/main", provider="gitea")))
    for source in ("guestbook", "docs"):
        where = f"/v1/preview-sources/{source}"
        assert (await http.put(where, json={**body, "repository": f"acme/{source}"})).status_code == 200
        row = await world.store.entity(PREVIEW_SOURCE.kind, f"src_{source}")
        assert row is not None
        hint = Hint(origin=row.state.origin(42), delivery="d1", what="opened")
        await world.store.transact(partial(heard, entity=f"pr_{source}_42", hint=hint))

    async def found(**params: str) -> set[str]:
        answer = await http.get("/v1/audit", params=params)
        assert answer.status_code == 200, answer.text
        return {each["pull"] for each in answer.json()["items"]}

    assert await found(pr="acme/docs#42") == {"pr_docs_42"}
    assert await found(pr="42", source="guestbook", project="shop") == {"pr_guestbook_42"}
    assert await found(pr="42", source="guestbook", type="created") == set()
    several = await http.get("/v1/audit", params={"pr": "42"})
    assert (several.status_code, several.json()["field"]) == (422, "pr")
    assert several.json()["details"]["near"] == ["acme/docs#42", "acme/guestbook#42"]
    assert (await http.get("/v1/audit", params={"pr": "7"})).status_code == 404
    assert (await http.get("/v1/audit", params={"source": "docs"})).json()["field"] == "source"
    async with world.client("reader") as reader, world.client("stranger") as stranger:
        assert (await reader.get("/v1/audit", params={"pr": "acme/docs#42"})).status_code == 200
        assert (await stranger.get("/v1/audit", params={"pr": "acme/docs#42"})).status_code == 404


async def test_audit_is_for_auditors_and_a_project_for_its_viewers(world: World, environment: str) -> None:
    async with world.client("reader") as reader:
        assert (await reader.get("/v1/audit")).status_code == 403
        assert (await reader.get("/v1/audit", params={"project": "shop"})).status_code == 200
        assert (await reader.post("/v1/audit/verifications")).status_code == 403
    async with world.client("auditor") as auditor:
        assert (await auditor.get("/v1/audit")).status_code == 200
        assert (await auditor.post("/v1/audit/verifications")).status_code == 200
        refused = await auditor.post(f"/v1/environments/{environment}/signals", json={"signal": "protect"})
        assert refused.status_code == 403


async def test_exports_hold_all_pages(world: World, http: httpx.AsyncClient, environment: str) -> None:
    for number in range(300):
        await protect(http, environment, f"r-{number}")
    page = (await http.get("/v1/audit", params={"limit": 1000})).json()["items"]
    assert len(page) > 500, "more than one page of an export"
    lines = await http.get("/v1/audit", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == page
    table = await http.get("/v1/audit", headers={"Accept": "text/csv"})
    assert table.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [each["id"] for each in rows] == [event["id"] for event in page]
    assert rows[-1]["actor"] == "token:root"
    for limit in (1, 499, 500, 501):
        some = await http.get("/v1/audit", params={"limit": limit}, headers={"Accept": "application/x-ndjson"})
        assert len(some.text.splitlines()) == limit
    refused = await http.get("/v1/audit?after=x", headers={"Accept": "text/csv"})
    assert refused.status_code == 422, "what is wrong is said before the export begins"


async def test_an_export_may_be_empty(http: httpx.AsyncClient) -> None:
    for accept, lines in (("application/x-ndjson", 0), ("text/csv", 1)):
        answer = await http.get("/v1/audit", headers={"Accept": accept})
        assert (answer.status_code, len(answer.text.splitlines())) == (200, lines), accept


def test_a_cell_is_never_a_formula() -> None:
    event = EventView(
        id="e",
        environment="env_1",
        project="=cmd|' /C calc'!A0",
        name="+1",
        tier="-1",
        seq=1,
        at=datetime(2026, 1, 5, 9, tzinfo=UTC),
        actor=Actor("token", "ci"),
        type="@SUM(A1)",
        summary='\tsays "x",\ny',
        request_id="-2.5",
    )
    (cells,) = csv.reader(io.StringIO(row(event).decode(), newline=""))
    assert cells[0] == "2026-01-05T09:00:00Z"
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert cells[9] == '\'\tsays "x",\ny', "nothing is lost but its power"


async def test_why_goes_from_a_resource_to_the_request(world: World, http: httpx.AsyncClient, environment: str) -> None:
    await world.work(environment)
    path = f"/v1/environments/{environment}/why"
    answer = (await http.get(path, params={"component": "db"})).json()
    assert answer["last_step"]["type"] == "step_succeeded"
    assert [operation["signal"] for operation in answer["operations"]] == ["create"]
    assert answer["operations"][0]["request_id"].startswith("req_")
    by_id = (await http.get(path, params={"component": "id-db@1"})).json()
    assert by_id == answer, "a resource is found by its external id"
    assert (await http.get(path, params={"component": "dbb"})).status_code == 404


async def test_verification_counts_what_it_checked(http: httpx.AsyncClient, environment: str) -> None:
    everything = (await http.post("/v1/audit/verifications")).json()
    assert everything["findings"] == []
    assert everything["heads"].keys() == {environment, "platform"}
    one = (await http.post("/v1/audit/verifications", json={"environment": environment})).json()
    assert one["heads"] == {environment: everything["heads"][environment]}
    platform = (await http.post("/v1/audit/verifications", json={"environment": "platform"})).json()
    assert platform["entities"] == 1
    assert (await http.post("/v1/audit/verifications", json={"environment": "env_0"})).status_code == 404


async def test_being_refused_is_history_too(world: World) -> None:
    async with world.client("reader") as reader:
        refused = await reader.post("/v1/tokens", json={"name": "mine", "roles": [["*", "admin"]]})
        assert refused.status_code == 403
    async with world.client() as admin:
        page = (await admin.get("/v1/audit", params={"correlation": refused.headers["X-Request-Id"]})).json()
    (event,) = page["items"]
    assert event["data"]["what"] == "request_refused"
    assert event["data"]["details"]["request"] == "POST /v1/tokens"
    assert event["actor"]["kind"] == "token", "who tried stands in it"

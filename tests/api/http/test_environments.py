"""Environments and signals over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.http.world import World

PROJECT = "/v1/projects/shop/environments"


async def scale(http: httpx.AsyncClient, environment: str, replicas: int, **more: Any) -> httpx.Response:
    body = {"signal": "scale", "component": "app", "replicas": replicas, **more.pop("fields", {})}
    return await http.post(f"/v1/environments/{environment}/signals", json=body, **more)


async def test_a_creation_is_accepted_and_points_to_its_operation(http: httpx.AsyncClient, published: str) -> None:
    body = {"name": "dev", "tier": "preview", "blueprint": published, "inputs": {"replicas": 2}, "ttl": "2h"}
    answer = await http.post(PROJECT, json=body)
    accepted = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/operations/{accepted['operation']['id']}"
    operation = (await http.get(answer.headers["Location"])).json()
    assert (operation["signal"], operation["status"]) == ("create", "running")
    view = (await http.get(f"/v1/environments/{accepted['environment_id']}")).json()
    assert (view["tier"], view["inputs"]["replicas"]) == ("preview", 2)
    assert view["expires_at"].endswith("Z")


async def test_a_dry_run_of_a_creation_changes_nothing(http: httpx.AsyncClient, published: str) -> None:
    answer = await http.post(PROJECT, params={"dry_run": "true"}, json={"name": "dev", "blueprint": "guestbook"})
    assert answer.status_code == 200
    assert {step["component"] for step in answer.json()["steps"]} == {"db", "cache", "jobs", "app"}
    assert (await http.get(PROJECT)).json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"name": "dev"}, 409, "name"),
        ({"name": "Shop!"}, 422, "name"),
        ({"blueprint": "guestbok"}, 404, "blueprint"),
        ({"inputs": {"replicas": 99}}, 422, "inputs.replicas"),
        ({"ttl": "soon"}, 422, "ttl"),
        ({"tiers": "dev"}, 422, "tiers"),
        ({"labels": {"a": 1}}, 422, "labels[...]"),
    ],
)
async def test_a_creation_that_cannot_be_says_which_field(
    http: httpx.AsyncClient, environment: str, change: dict[str, Any], status: int, field: str
) -> None:
    answer = await http.post(PROJECT, json={"name": "two", "blueprint": "guestbook"} | change)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_the_same_key_and_body_is_the_same_operation(http: httpx.AsyncClient, published: str) -> None:
    body, key = {"name": "dev", "blueprint": published}, {"Idempotency-Key": "once"}
    first = await http.post(PROJECT, json=body, headers=key)
    again = await http.post(PROJECT, json=body, headers=key)
    other = await http.post(PROJECT, json=body | {"name": "other"}, headers=key)
    assert first.json()["operation"]["id"] == again.json()["operation"]["id"]
    assert (first.json()["replayed"], again.json()["replayed"]) == (False, True)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_hold_for_signals_and_deletes(http: httpx.AsyncClient, environment: str) -> None:
    key = {"Idempotency-Key": "k1"}
    first, again = [(await scale(http, environment, 3, headers=key)).json() for _ in range(2)]
    assert first["operation"]["id"] == again["operation"]["id"]
    assert (await scale(http, environment, 4, headers=key)).status_code == 422
    path, key = f"/v1/environments/{environment}", {"Idempotency-Key": "k2"}
    gone, still = [(await http.delete(path, headers=key)).json() for _ in range(2)]
    assert gone["operation"]["id"] == still["operation"]["id"]


async def test_a_signal_changes_what_is_desired(http: httpx.AsyncClient, environment: str) -> None:
    answer = await scale(http, environment, 3)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/operations/{answer.json()['operation']['id']}"
    view = (await http.get(f"{PROJECT}/dev")).json()
    assert next(c for c in view["components"] if c["name"] == "app")["inputs"]["replicas"] == 3


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"signal": "scale", "component": "app", "replicas": 99}, 422, "replicas"),
        ({"signal": "scale", "component": "app", "replicas": "3"}, 422, "to[...]"),
        ({"signal": "scale", "component": "ap", "replicas": 3}, 422, "component"),
        ({"signal": "scael"}, 422, "signal"),
        ({}, 422, "signal"),
        ({"signal": "create", "name": "x", "blueprint": "guestbook"}, 422, "signal"),
        ({"signal": "extend"}, 422, "ttl"),
        ({"signal": "protect", "loudly": True}, 422, "loudly"),
    ],
)
async def test_a_signal_that_cannot_be_changes_nothing(
    http: httpx.AsyncClient, environment: str, body: dict[str, Any], status: int, field: str
) -> None:
    before = (await http.get(f"{PROJECT}/dev")).json()
    answer = await http.post(f"/v1/environments/{environment}/signals", json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert (await http.get(f"{PROJECT}/dev")).json()["version"] == before["version"]


async def test_a_dry_run_of_a_creation_under_a_taken_name_says_so(http: httpx.AsyncClient, environment: str) -> None:
    body = {"name": "dev", "blueprint": "guestbook"}
    dry = await http.post(PROJECT, params={"dry_run": "true"}, json=body)
    real = await http.post(PROJECT, json=body)
    same = ("status", "code", "detail", "mend")
    assert [dry.json()[each] for each in same] == [real.json()[each] for each in same]
    assert dry.status_code == 409


async def test_a_dry_run_gives_the_plan_that_a_signal_may_insist_on(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    await world.work(environment)
    dry = await scale(http, environment, 3, params={"dry_run": "true"})
    assert dry.status_code == 200
    assert [step["component"] for step in dry.json()["steps"]] == ["app"]
    plan = {"expect_plan": dry.json()["digest"]}
    refused = await scale(http, environment, 2, fields=plan)
    assert (refused.status_code, refused.json()["field"]) == (412, "expect_plan")
    assert refused.json()["details"]["plan"]["steps"], "the difference can be looked at"
    assert (await scale(http, environment, 3, fields=plan)).status_code == 202


async def test_a_dry_run_tells_what_would_change_to_who_asks(
    world: World, http: httpx.AsyncClient, published: str
) -> None:
    body = {"name": "other", "blueprint": published}
    plain = (await http.post(PROJECT, json=body, params={"dry_run": "true"})).json()
    assert {step["preview"] for step in plain["steps"]} == {None}
    asked = await http.post(PROJECT, json=body, params={"dry_run": "true", "preview": "true"})
    assert asked.status_code == 200, asked.text
    found = {step["component"]: step["preview"] for step in asked.json()["steps"]}
    change = {"resource": "process app", "kind": "create", "fields": {"host": "(known after apply)"}}
    assert found["app"] == {"changes": [change], "error": None}
    assert found["db"]["error"] == {"kind": "blocked", "message": "may not look", "field": None, "mend": "let it look"}
    assert (await http.get(f"{PROJECT}/other")).status_code == 404


async def test_a_preview_is_for_dry_runs(http: httpx.AsyncClient, environment: str) -> None:
    path = f"/v1/environments/{environment}"
    before = (await http.get(path)).json()["version"]
    for where, body in ((f"{path}/signals", {"signal": "protect"}), (PROJECT, {"name": "x", "blueprint": "guestbook"})):
        refused = await http.post(where, json=body, params={"preview": "true"})
        assert (refused.status_code, refused.json()["field"]) == (422, "preview")
    assert (await http.get(path)).json()["version"] == before
    signal = {"signal": "scale", "component": "app", "to": {"replicas": 3}}
    asked = await http.post(f"{path}/signals", json=signal, params={"dry_run": "true", "preview": "true"})
    assert [step["component"] for step in asked.json()["steps"] if step["preview"]] == ["db", "app"]


async def test_the_etag_is_the_version(http: httpx.AsyncClient, environment: str) -> None:
    path = f"/v1/environments/{environment}"
    first = await http.get(path)
    tag = first.headers["ETag"]
    assert tag == f'"{first.json()["version"]}"'
    unchanged = await http.get(path, headers={"If-None-Match": f'"0", W/{tag}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    assert (await scale(http, environment, 3, headers={"If-Match": tag})).status_code == 202
    assert (await http.get(path, headers={"If-None-Match": tag})).status_code == 200
    stale = await scale(http, environment, 4, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["field"]) == (412, "If-Match")
    assert (await http.delete(path, headers={"If-Match": tag})).status_code == 412
    assert (await http.delete(f"{PROJECT}/dev", headers={"If-Match": tag})).status_code == 412
    assert (await scale(http, environment, 4, headers={"If-Match": "*"})).status_code == 202


async def test_progress_is_seen_beside_the_running_step_and_is_no_version(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    task = await world.begin(environment)
    path = f"/v1/environments/{environment}"
    silent = await http.get(path)
    await world.store.tell(task, "7 of 12, waiting for slow-8")
    for each in (path, f"{PROJECT}/dev"):
        told = await http.get(each, headers={"If-None-Match": silent.headers["ETag"]})
        assert (told.status_code, told.headers["ETag"]) == (200, silent.headers["ETag"]), "a poller must see it"
        steps = {step["key"]: (step["state"], step["progress"]) for step in told.json()["plan"]["steps"]}
        assert steps[task.key] == ("running", "7 of 12, waiting for slow-8")
        assert [key for key, (_, progress) in steps.items() if progress] == [task.key]


async def test_deleting_is_the_signal_destroy_and_the_past_stays(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    await world.work(environment)
    stood = (await http.get("/v1/audit", params={"environment": environment, "type": "became_ready"})).json()
    answer = await http.delete(f"{PROJECT}/dev")
    assert (answer.status_code, answer.json()["operation"]["signal"]) == (202, "destroy")
    await world.work(environment)
    view = (await http.get(f"{PROJECT}/dev")).json()
    assert view["status"] == "destroyed"
    assert view["certificate"]["resources"], "each resource is proven gone"
    assert (await http.get(PROJECT)).json()["items"] == []
    assert len((await http.get(PROJECT, params={"gone": "true"})).json()["items"]) == 1
    for path in (f"/v1/environments/{environment}", f"{PROJECT}/dev"):
        then = await http.get(path, params={"as_of": stood["items"][0]["at"]})
        assert then.json()["status"] == "ready", "it can be seen as it was, also after its destruction"
        assert "ETag" not in then.headers, "the past does not change, and is no version to build on"
    before = await http.get(f"{PROJECT}/dev", params={"as_of": "2020-01-01T00:00:00+01:00"})
    assert (before.status_code, before.json()["field"]) == (404, "as_of")


async def test_waiting_for_an_operation_ends_with_it(world: World, http: httpx.AsyncClient, environment: str) -> None:
    operations = (await http.get(f"/v1/environments/{environment}/operations")).json()["items"]
    path = f"/v1/operations/{operations[0]['id']}"
    assert (await http.get(path, params={"wait": "0"})).json()["status"] == "running"
    waiting = asyncio.create_task(http.get(path, params={"wait": "60"}))
    await world.work(environment)
    assert (await waiting).json()["status"] == "succeeded"


async def test_a_service_that_stops_lets_no_one_wait(world: World, http: httpx.AsyncClient, environment: str) -> None:
    operations = (await http.get(f"/v1/environments/{environment}/operations")).json()["items"]
    waiting = asyncio.create_task(http.get(f"/v1/operations/{operations[0]['id']}", params={"wait": "60"}))
    world.stopping.stop()
    assert (await waiting).json()["status"] == "running"


async def test_lists_filter_and_page(http: httpx.AsyncClient, environment: str) -> None:
    for project, name, team in (("shop", "b", "search"), ("shop", "c", "search"), ("other", "d", "search")):
        body = {"name": name, "blueprint": "guestbook", "labels": {"team": team}, "tier": "preview"}
        assert (await http.post(f"/v1/projects/{project}/environments", json=body)).status_code == 202

    async def names(path: str, **params: Any) -> list[str]:
        return [each["name"] for each in (await http.get(path, params=params)).json()["items"]]

    assert await names("/v1/environments") == ["dev", "b", "c", "d"]
    assert await names(PROJECT) == ["dev", "b", "c"]
    assert await names(PROJECT, tier="preview") == ["b", "c"]
    assert await names("/v1/environments", label=["team=payments"]) == ["dev"]
    assert await names("/v1/environments", label=["team=payments", "team2=x"]) == []
    assert await names("/v1/environments", status="ready") == []
    first = (await http.get("/v1/environments", params={"limit": 3})).json()
    rest = (await http.get("/v1/environments", params={"limit": 3, "after": first["next"]})).json()
    assert ([each["name"] for each in rest["items"]], rest["next"]) == (["d"], None)


async def test_roles_bound_what_each_may_see_and_do(world: World, environment: str) -> None:
    path = f"/v1/environments/{environment}"
    async with world.client("stranger") as stranger:
        assert (await stranger.get(path)).status_code == 404, "not even that it is there"
        assert (await stranger.get(PROJECT)).status_code == 403
        assert (await stranger.get(f"{path}/events")).status_code == 404
        assert (await stranger.get(f"{path}/logs")).status_code == 404
        assert (await stranger.post(f"{path}/credentials/reveal", json={"reason": "to see"})).status_code == 404
    async with world.client("reader") as reader:
        assert (await reader.get(path)).status_code == 200
        assert (await scale(reader, environment, 2)).json()["code"] == "forbidden"
        assert (await scale(reader, environment, 2, params={"dry_run": "true"})).status_code == 403
        assert (await reader.post(f"{path}/credentials/reveal", json={"reason": "to see"})).status_code == 403
        assert (await reader.get("/v1/environments")).status_code == 403
    async with world.client("dev") as dev:
        assert (await scale(dev, environment, 2)).status_code == 202
        assert (await dev.post("/v1/tokens", json={"name": "x", "roles": [["*", "admin"]]})).status_code == 403

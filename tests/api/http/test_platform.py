"""What belongs to no environment: blueprints, targets, types, tokens, blocks; and credentials."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.api.http.world import BLOCK, GZIP, ROLES, World, bundle, token
from twin.ports.store import StoredToken
from twin.service.principals import hash_of


async def publish(http: httpx.AsyncClient, folder: Path, version: str = "1.0.0", **changes: Any) -> httpx.Response:
    return await http.post("/v1/blueprints", content=bundle(folder, version, **changes), headers=GZIP)


async def test_a_version_is_published_once_and_never_changes(http: httpx.AsyncClient, tmp_path: Path) -> None:
    first = await publish(http, tmp_path / "a")
    assert (first.status_code, first.headers["Location"]) == (201, "/v1/blueprints/guestbook/1.0.0")
    again = await publish(http, tmp_path / "b")
    assert (again.status_code, again.headers["Location"]) == (200, "/v1/blueprints/guestbook/1.0.0")
    other = await publish(http, tmp_path / "c", tiers={})
    assert other.status_code == 409
    assert (await http.get(first.headers["Location"])).json() == first.json()


async def test_blueprints_are_found_by_name_and_version(http: httpx.AsyncClient, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert (await publish(http, tmp_path / version, version)).status_code == 201
    assert (await http.get("/v1/blueprints/guestbook")).json()["version"] == "1.1.0"
    versions = [each["version"] for each in (await http.get("/v1/blueprints?name=guestbook")).json()["items"]]
    assert versions == ["1.1.0", "1.0.0"]
    assert (await http.get("/v1/blueprints?name=other")).json()["items"] == []
    missing = await http.get("/v1/blueprints/guestbok")
    assert (missing.status_code, missing.json()["mend"]) == (404, "Did you mean 'guestbook'?")


async def test_publishing_is_for_operators_and_says_what_is_wrong_where(
    world: World, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with world.client("dev") as dev:
        assert (await publish(dev, tmp_path / "a")).status_code == 403
    wrong = await publish(http, tmp_path / "b", components={"db": {"type": "test.databse"}})
    assert (wrong.status_code, wrong.json()["field"]) == (404, "components.db.type")


async def test_targets_come_and_go_and_never_show_credentials(world: World, http: httpx.AsyncClient) -> None:
    body = {"name": "data/eu", "provider": "data", "credentials": {"password": "hunter2"}, "tiers": ["prod"]}
    made = await http.post("/v1/targets", json=body)
    assert (made.status_code, made.json()["credentials"]) == (201, ["password"])
    listed = await http.get("/v1/targets")
    assert made.json() in listed.json()["items"]
    assert "hunter2" not in made.text + listed.text + (await http.get("/v1/audit")).text
    assert (await http.delete("/v1/targets/data/eu")).status_code == 204
    assert (await http.delete("/v1/targets/data/eu")).status_code == 404
    assert (await http.post("/v1/targets", json=body | {"credentials": {}})).status_code == 422
    assert (await http.post("/v1/targets", json=body | {"name": "eu"})).json()["field"] == "name"
    async with world.client("dev") as dev:
        assert (await dev.post("/v1/targets", json=body)).status_code == 403


async def test_types_show_their_schemas(http: httpx.AsyncClient) -> None:
    types = {each["name"]: each for each in (await http.get("/v1/types")).json()["items"]}
    assert types["test.service"]["schema"]["properties"]["replicas"]["x-scalable"] is True


async def test_a_token_is_shown_once_and_works(world: World, http: httpx.AsyncClient) -> None:
    body = {"name": "ci", "roles": [["shop", "developer"]], "ttl": "30d"}
    made = await http.post("/v1/tokens", json=body)
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert made.json()["expires_at"].endswith("Z")
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    me = (await http.get("/v1/me", headers=headers)).json()
    assert me == {"name": "ci", "roles": [["shop", "developer"]]}
    assert made.json()["token"] not in (await http.get("/v1/audit")).text
    over = (await http.post("/v1/tokens", json=body | {"name": "over", "ttl": "0s"})).json()["token"]
    assert (await http.get("/v1/me", headers={"Authorization": f"Bearer {over}"})).status_code == 401


async def test_a_name_is_one_tokens_until_it_is_revoked(world: World, http: httpx.AsyncClient) -> None:
    body = {"name": "ci", "roles": [["shop", "developer"]], "ttl": "30d"}
    made = (await http.post("/v1/tokens", json=body)).json()
    for name in ("ci", "twin"):
        taken = await http.post("/v1/tokens", json=body | {"name": name})
        assert (taken.status_code, taken.json()["field"]) == (409, "name"), "the history could not tell them apart"
    listed = await http.get("/v1/tokens")
    found = {each["name"]: each for each in listed.json()["items"]}
    assert found.keys() == {*ROLES, "ci"}
    assert found["ci"].keys() == {"name", "roles", "created_at", "expires_at"}
    assert (found["ci"]["roles"], found["ci"]["expires_at"]) == (made["roles"], made["expires_at"])
    assert hash_of(made["token"]) not in listed.text

    assert (await http.delete("/v1/tokens/ci", headers={"X-Request-Id": "off"})).status_code == 204
    assert (await http.get("/v1/me", headers={"Authorization": f"Bearer {made['token']}"})).status_code == 401
    (fact,) = (await http.get("/v1/audit", params={"correlation": "off"})).json()["items"]
    assert (fact["actor"]["name"], fact["data"]["what"], fact["data"]["details"]) == (
        "root",
        "token_revoked",
        {"name": "ci"},
    )
    gone = await http.delete("/v1/tokens/ci")
    assert gone.status_code == 404
    assert (await http.post("/v1/tokens", json=body)).status_code == 201


async def test_tokens_are_for_admins_and_one_of_them_stays(world: World, http: httpx.AsyncClient) -> None:
    for name in ("dev", "auditor"):
        async with world.client(name) as other:
            assert (await other.get("/v1/tokens")).status_code == 403
            assert (await other.delete("/v1/tokens/reader")).status_code == 403
    short = {"name": "over", "roles": [["*", "admin"]], "ttl": "0s"}
    assert (await http.post("/v1/tokens", json=short)).status_code == 201
    last = await http.delete("/v1/tokens/root")
    assert (last.status_code, "twin token create" in last.json()["mend"]) == (409, True)
    assert (await http.post("/v1/tokens", json=short | {"name": "second", "ttl": None})).status_code == 201
    assert (await http.delete("/v1/tokens/root")).status_code == 204
    assert (await http.get("/v1/me")).status_code == 401


async def test_what_is_of_no_project_is_for_those_who_have_a_role_in_some(
    world: World, http: httpx.AsyncClient, published: str
) -> None:
    nobody = StoredToken(hash=hash_of(token("nobody")), name="nobody", roles=(), created_at=world.clock.now())
    await world.store.transact(lambda tx: tx.put_token(nobody))
    paths = ("/v1/targets", "/v1/types", "/v1/blueprints", "/v1/blueprints/guestbook", "/v1/blueprints/guestbook/1.0.0")
    for name, status in (("nobody", 403), ("reader", 200), ("auditor", 200)):
        async with world.client(name) as other:
            assert {path: (await other.get(path)).status_code for path in paths} == dict.fromkeys(paths, status)
            assert (await other.get("/v1/me")).status_code == 200
    empty = await http.post("/v1/tokens", json={"name": "empty", "roles": []})
    assert (empty.status_code, empty.json()["field"]) == (422, "roles")


async def test_a_block_names_whom_it_stops_and_is_resolved_once(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    await world.block(environment)
    (block,) = (await http.get("/v1/blocks")).json()["items"]
    assert (block["key"], block["mend"], block["environments"]) == (BLOCK, "raise it", ["shop/dev"])
    near = await http.post("/v1/blocks/resolutions", json={"key": "data/data-1/quotas"})
    assert (near.status_code, near.json()["details"]["near"]) == (404, [BLOCK])
    resolved = await http.post("/v1/blocks/resolutions", json={"key": BLOCK})
    assert (resolved.status_code, resolved.json()) == (200, {"key": BLOCK, "woken": 1})
    assert (await http.post("/v1/blocks/resolutions", json={"key": BLOCK})).status_code == 404
    assert (await http.get("/v1/blocks")).json()["items"] == []
    (kept,) = (await http.get("/v1/blocks", params={"all": "true"})).json()["items"]
    assert kept["resolved_by"] == {"kind": "token", "name": "root"}


async def test_credentials_are_revealed_and_that_is_recorded(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    path = f"/v1/environments/{environment}/credentials/reveal"
    early = await http.post(path, json={"reason": "to see"})
    assert early.status_code == 409, "nothing stands yet"
    await world.work(environment)
    answer = await http.post(path, json={"component": "app", "reason": "INC-7"}, headers={"X-Request-Id": "who"})
    assert answer.json()["variables"]["DATABASE_URL"] == "postgresql://u:hunter2@db"
    assert answer.headers["Cache-Control"] == "no-store"
    recorded = await http.get("/v1/audit", params={"correlation": "who"})
    assert "credentials revealed" in recorded.text
    assert "INC-7" in recorded.text, "with the reason"
    unsaid = await http.post(path, json={})
    assert (unsaid.status_code, unsaid.json()["field"]) == (422, "reason")
    assert (await http.post(path, json={"reason": "   "})).json()["field"] == "reason"
    assert "hunter2" not in (await http.get("/v1/audit")).text
    assert (await http.post(path, json={"component": "nope", "reason": "to see"})).status_code == 404


async def test_a_backup_is_whole_for_admins_alone_and_recorded(
    world: World, http: httpx.AsyncClient, environment: str, tmp_path: Path
) -> None:
    for name in ("dev", "auditor"):
        async with world.client(name) as other:
            assert (await other.post("/v1/backups")).status_code == 403
    taken = await http.post("/v1/backups")
    assert (taken.status_code, taken.headers["Content-Length"]) == (200, str(len(taken.content)))
    (tmp_path / "copy.db").write_bytes(taken.content)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM entities WHERE id = ?", (environment,)).fetchone() == (1,)
    facts = (await http.get("/v1/audit", params={"type": "fact"})).json()["items"]
    assert facts[-1]["data"]["what"] == "backup_taken"
    assert not list(world.folder.glob("backup-*"))


async def test_a_backup_without_room_is_refused_and_leaves_nothing(world: World, http: httpx.AsyncClient) -> None:
    left = world.folder / "backup-of-a-killed-process"
    left.touch()
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, was[1]))
    try:
        refused = await http.post("/v1/backups")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
    assert (refused.status_code, refused.json()["retryable"]) == (503, True)
    assert not list(world.folder.glob("backup-*"))
    assert (await http.post("/v1/backups")).status_code == 200

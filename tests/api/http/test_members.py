"""Members over HTTP: of a project, of an environment, and one person's own credentials."""

from __future__ import annotations

import httpx
import pytest

from tests.api.http.world import World

SHOP = "/v1/projects/shop/members"


async def test_a_project_s_members_come_change_and_go(http: httpx.AsyncClient) -> None:
    assert (await http.get(SHOP)).json() == {"items": [], "next": None}
    made = await http.put(f"{SHOP}/ada@example.com", json={"role": "viewer", "until": "8h"})
    assert (made.status_code, made.json()["role"]) == (200, "viewer")
    assert made.json()["until"]
    assert (await http.put(f"{SHOP}/ada@example.com", json={})).json() == {
        "name": "ada@example.com",
        "role": "developer",
        "until": None,
    }
    assert [each["name"] for each in (await http.get(SHOP)).json()["items"]] == ["ada@example.com"]
    assert (await http.get(f"{SHOP}/ada@example.com")).json()["role"] == "developer"
    missing = await http.get(f"{SHOP}/adda@example.com")
    assert (missing.status_code, missing.json()["details"]["near"]) == (404, ["ada@example.com"])
    assert (await http.delete(f"{SHOP}/ada@example.com")).status_code == 204
    assert (await http.delete(f"{SHOP}/ada@example.com")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [({"role": "king"}, "role"), ({"until": "yesterday"}, "until"), ({"until": "2020-01-01T00:00:00Z"}, "until")],
)
async def test_a_wrong_place_is_named(http: httpx.AsyncClient, body: dict[str, str], field: str) -> None:
    refused = await http.put(f"{SHOP}/ada", json=body)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert (await http.get(SHOP)).json()["items"] == [], "nothing has changed"


async def test_an_operator_changes_members_and_a_viewer_sees_them(world: World, http: httpx.AsyncClient) -> None:
    async with world.client("reader") as reader:
        assert (await reader.put(f"{SHOP}/ada", json={})).status_code == 403
        assert (await reader.get(SHOP)).status_code == 200


async def test_an_environment_tells_whose_members_it_has(
    world: World, http: httpx.AsyncClient, environment: str
) -> None:
    path = f"/v1/environments/{environment}/members"
    body = {"signal": "add_members", "members": [{"name": "bo", "role": "viewer"}]}
    assert (await http.post(f"/v1/environments/{environment}/signals", json=body)).status_code == 202
    (bo,) = (await http.get(path)).json()["items"]
    assert (bo["name"], bo["role"], bo["of"]) == ("bo", "viewer", "environment")
    own = await http.post(f"{path}/me/credentials")
    assert (own.status_code, own.json()["code"]) == (403, "not_a_member")
    assert "twin member add" in own.json()["mend"]

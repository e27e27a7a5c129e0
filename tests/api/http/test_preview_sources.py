"""Preview sources over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.http.world import World
from twin.domain.targets import Target

SOURCE: dict[str, Any] = {
    "forge": "gitea/main",
    "repository": "acme/guestbook",
    "project": "shop",
    "blueprint": "guestbook",
    "ttl": "3d",
}


@pytest.fixture
async def forge(world: World) -> None:
    await world.store.transact(lambda tx: tx.put_target(Target(name="gitea/main", provider="gitea")))


@pytest.mark.usefixtures("forge")
async def test_a_source_is_configured_seen_changed_and_removed(world: World) -> None:
    async with world.client() as root:
        made = await root.put("/v1/preview-sources/guestbook", json=SOURCE)
        assert made.status_code == 200, made.text
        assert made.json()["config"]["ttl"] == 259_200
        changed = await root.put("/v1/preview-sources/guestbook", json={**SOURCE, "ttl": 3600, "max_live": 2})
        assert changed.json()["config"]["max_live"] == 2
        listed = (await root.get("/v1/preview-sources")).json()["items"]
        assert listed == [changed.json()]
        assert (await root.get("/v1/preview-sources/guestbook")).json() == changed.json()
        removed = await root.delete("/v1/preview-sources/guestbook")
        assert removed.json()["status"] == "removing"
        assert (await root.get("/v1/preview-sources/guestbok")).json()["field"] == "name"


@pytest.mark.usefixtures("forge")
async def test_a_forge_that_a_source_needs_stays(world: World) -> None:
    async with world.client() as root:
        await root.put("/v1/preview-sources/guestbook", json=SOURCE)
        refused = await root.delete("/v1/targets/gitea/main")
        assert refused.status_code == 409
        assert "preview source guestbook" in refused.json()["detail"]


@pytest.mark.usefixtures("forge")
async def test_who_may_do_what(world: World) -> None:
    async with world.client() as root, world.client("dev") as dev, world.client("stranger") as stranger:
        assert (await dev.put("/v1/preview-sources/guestbook", json=SOURCE)).status_code == 403
        await root.put("/v1/preview-sources/guestbook", json=SOURCE)
        assert (await dev.get("/v1/preview-sources/guestbook")).status_code == 200
        assert (await dev.get("/v1/preview-sources/guestbook/pulls")).json()["items"] == []
        assert (await stranger.get("/v1/preview-sources/guestbook/pulls")).status_code == 404
        assert (await dev.delete("/v1/preview-sources/guestbook")).status_code == 403
        assert (await stranger.get("/v1/preview-sources/guestbook")).status_code == 404
        assert (await stranger.get("/v1/preview-sources")).json()["items"] == []


@pytest.mark.usefixtures("forge")
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"forge": "gitea/mian"}, "forge"),
        ({"repository": "../../x; rm -rf"}, "repository"),
        ({"ttl": "soon"}, "ttl"),
        ({"idle_ttl": "1s"}, "idle_ttl"),
        ({"blueprint": None}, "blueprint"),
        ({"inputs": {"x": "${pr.title}"}}, "inputs.x"),
        ({"max_live": 0}, "max_live"),
        ({"forks": "yes"}, "forks"),
        ({"maxlive": 3}, "maxlive"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(world: World, wrong: dict[str, Any], field: str) -> None:
    async with world.client() as root:
        refused = await root.put("/v1/preview-sources/guestbook", json={**SOURCE, **wrong})
        assert refused.status_code == 422, refused.text
        assert refused.json()["field"] == field, refused.text
        assert refused.json()["mend"], refused.text
        assert (await root.get("/v1/preview-sources")).json()["items"] == []

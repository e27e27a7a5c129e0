"""Quotas over HTTP."""

from __future__ import annotations

import pytest

from tests.api.http.world import World


@pytest.mark.usefixtures("published")
async def test_quotas_are_set_seen_and_held(world: World) -> None:
    path, environments = "/v1/projects/shop/quotas", "/v1/projects/shop/environments"
    unlimited = {"project": "shop", "max_environments": None, "tiers": {}, "living": {}}
    async with world.client() as root, world.client("dev") as dev, world.client("stranger") as stranger:
        assert (await dev.get(path)).json() == unlimited
        given = {"max_environments": 2, "tiers": {"preview": 0}}
        assert (await dev.put(path, json=given)).status_code == 403
        assert (await root.put(path, json=given)).json() == {**unlimited, **given}
        refused = await dev.post(environments, json={"name": "one", "blueprint": "guestbook", "tier": "preview"})
        assert refused.status_code == 409
        problem = refused.json()
        assert (problem["code"], problem["field"]) == ("quota_reached", "tier")
        assert "twin quota set shop --tier preview=1" in problem["mend"]
        for name in ("one", "two"):
            assert (await dev.post(environments, json={"name": name, "blueprint": "guestbook"})).status_code == 202
        third = {"name": "three", "blueprint": "guestbook"}
        assert (await dev.post(environments, json=third)).json()["field"] == "project"
        assert (await dev.post(environments, params={"dry_run": "true"}, json=third)).status_code == 409
        assert (await root.put(path, json={})).json()["living"] == {"dev": 2}
        assert (await dev.post(environments, json=third)).status_code == 202
        assert (await stranger.get(path)).status_code == 403
        for wrong in ({"max_environments": -1}, {"tiers": {"previews": 1}}, {"most": 1}, {"tiers": {"dev": "x"}}):
            assert (await root.put(path, json=wrong)).status_code in (400, 422), wrong
        facts = (await root.get("/v1/audit", params={"type": "quotas_set"})).json()["items"]
        assert [each["actor"]["name"] for each in facts] == ["root", "root"]

"""A world per test, and what most stories begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.http.world import GZIP, World, bundle


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.seed()
    yield made
    await made.store.close()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """As an admin."""
    async with world.client() as client:
        yield client


@pytest.fixture
async def published(http: httpx.AsyncClient, tmp_path: Path) -> str:
    """`guestbook@1.0.0`."""
    answer = await http.post("/v1/blueprints", content=bundle(tmp_path / "guestbook"), headers=GZIP)
    assert answer.status_code == 201, answer.text
    return "guestbook@1.0.0"


@pytest.fixture
async def environment(http: httpx.AsyncClient, published: str) -> str:
    """The id of shop/dev, just accepted: nothing of it stands yet."""
    body = {"name": "dev", "blueprint": published, "labels": {"team": "payments"}}
    answer = await http.post("/v1/projects/shop/environments", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["environment_id"])

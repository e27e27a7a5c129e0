"""A world with forges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.http.world import World
from tests.api.webhooks.hooks import configure


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.seed()
    await configure(made)
    yield made
    await made.store.close()

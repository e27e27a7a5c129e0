"""What the first start sets up, and what a start that was cut short leaves for the next."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.bootstrap import DECIDERS
from api.clock import SystemClock
from api.first_start import ensure_token
from twin.service.principals import Tokens
from twin.settings import Settings
from twin.store import SqlStore, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'twin.db'}", deciders=DECIDERS, clock=SystemClock())
    yield opened
    await opened.close()


@pytest.mark.parametrize("left", [None, "", "\n"], ids=["nothing", "an empty file", "a blank line"])
async def test_the_token_file_opens_the_api_whatever_an_earlier_start_left(
    store: SqlStore, tmp_path: Path, left: str | None
) -> None:
    settings = Settings(data_dir=tmp_path)
    if left is not None:
        settings.token_file.write_text(left)
    assert await ensure_token(store, settings)
    assert not await ensure_token(store, settings), "and the next start keeps it"
    token = settings.token_file.read_text().strip()
    assert (await Tokens(store).authenticate(token)).may("admin", "*")
    assert stat.S_IMODE(settings.token_file.stat().st_mode) == 0o600
    assert not _drafts(tmp_path)


def _drafts(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))

"""What the first start sets up, and what a start that was cut short leaves for the next."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.bootstrap import DECIDERS, bound
from api.clock import SystemClock
from api.first_start import check_vault, ensure_process, ensure_token, wants_local
from providers.process import KIND as PROCESS
from tests.waiting import soon
from twin.domain.errors import Conflict, Invalid, Unauthenticated, Unavailable
from twin.domain.identity import TWIN
from twin.domain.platform import PLATFORM_ID
from twin.domain.targets import Target
from twin.ports.store import EventFilter, Tx
from twin.service.principals import Principal, Request, Tokens
from twin.service.target_registry import Targets
from twin.settings import Settings
from twin.store import SqlStore, open_store
from twin.vault import resealing
from twin.vault.aead import AeadVault
from twin.vault.keys import Key


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
    (made,) = (await store.events(EventFilter(type="fact"))).items
    assert (made.actor, made.event.what, made.event.details["name"]) == (TWIN, "token_created", "admin")


async def test_a_revoked_token_does_not_come_back_with_the_next_start(store: SqlStore, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    await ensure_token(store, settings)
    tokens, old = Tokens(store), settings.token_file.read_text().strip()
    request = Request(await tokens.authenticate(old), "r1")
    with pytest.raises(Conflict, match="the last admin"):
        await tokens.revoke("admin", request)
    await tokens.create("anna", [("*", "admin")], request, now=datetime.now(UTC))
    await tokens.revoke("admin", request)
    assert await ensure_token(store, settings), "the folder's owner is given another"
    with pytest.raises(Unauthenticated):
        await tokens.authenticate(old)
    assert (await tokens.authenticate(settings.token_file.read_text().strip())).may("admin", "*")


async def test_two_folders_of_one_database_have_a_token_each(store: SqlStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert await ensure_token(store, Settings(data_dir=tmp_path / name))
    for name in ("one", "two"):
        assert not await ensure_token(store, Settings(data_dir=tmp_path / name))
    assert [each.name for each in await store.tokens()] == ["admin", "admin-2"]


async def test_a_file_given_before_the_first_start_is_taken_over(store: SqlStore, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.token_file.write_text("twin_chosen\n")
    assert not await ensure_token(store, settings)
    assert (await Tokens(store).authenticate("twin_chosen")).may("admin", "*")


# --- the embedded default

FORGES = ("gitea", "github")
LOCAL = ("process/local", "postgres/local")


@pytest.mark.parametrize(
    ("setting", "targets", "wanted"),
    [
        ("auto", (), True),
        ("auto", ("postgres/eu",), False),
        ("auto", ("github/main", "gitea/main"), True),
        ("auto", ("github/main", "postgres/eu"), False),
        ("auto", (*LOCAL, "github/main"), True),
        ("auto", (*LOCAL, "postgres/eu"), True),
        ("on", ("postgres/eu",), True),
        ("off", (), False),
        ("off", LOCAL, False),
    ],
)
def test_local_servers_run_for_who_has_no_others_or_began_with_them(
    setting: str, targets: tuple[str, ...], wanted: bool
) -> None:
    assert wants_local(setting, targets, FORGES) is wanted


# --- the vault's key


async def test_a_key_is_rotated_to_the_end(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "BATCH", 3)
    old, new = Key(os.urandom(32)), Key(os.urandom(32))
    places = [("env_1", f"db@{number}", 1 + number % 2, "url") for number in range(10)] + [
        (PLATFORM_ID, "postgres/eu", 1, "password")
    ]
    await check_vault(store, AeadVault([old]))
    await _seal(store, AeadVault([old]), places)
    await check_vault(store, AeadVault([new, old]))
    await check_vault(store, AeadVault([new]))
    assert await _opened(store, AeadVault([new]), places) == [str(place) for place in places]
    await check_vault(store, AeadVault([new, old]))
    (fact,) = (await store.events(EventFilter(type="fact"))).items
    assert (fact.actor, fact.event.what, fact.event.details) == (TWIN, "vault_resealed", {"secrets": len(places)})
    with pytest.raises(Invalid, match="not the one"):
        await check_vault(store, AeadVault([old]))


async def test_a_rotation_that_is_cut_short_needs_both_keys_until_it_is_finished(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "BATCH", 3)
    old, new = Key(os.urandom(32)), Key(os.urandom(32))
    places = [("env_1", f"db@{number}", 1, "url") for number in range(10)]
    await check_vault(store, AeadVault([old]))
    await _seal(store, AeadVault([old]), places)
    with pytest.raises(Unavailable, match="killed"):
        await check_vault(_Dying(store, after=3), AeadVault([new, old]))
    with pytest.raises(Invalid, match="not the one"):
        await check_vault(store, AeadVault([new]))
    both = AeadVault([new, old])
    assert await _opened(store, both, places) == [str(place) for place in places]
    await check_vault(store, both)
    await check_vault(store, AeadVault([new]))
    assert await _opened(store, AeadVault([new]), places) == [str(place) for place in places]


async def test_what_no_key_opens_stops_neither_the_start_nor_the_rotation(store: SqlStore) -> None:
    old, new, lost = (Key(os.urandom(32)) for _ in range(3))
    await check_vault(store, AeadVault([old]))
    await _seal(store, AeadVault([lost]), [("env_1", "a@1", 1, "url")])
    await _seal(store, AeadVault([old]), [("env_1", "b@1", 1, "url")])
    await store.transact(lambda tx: tx.put_secret("env_1", "c@1", 1, "url", b"torn"))
    await check_vault(store, AeadVault([new, old]))
    await check_vault(store, AeadVault([new]))
    assert await _opened(store, AeadVault([new]), [("env_1", "b@1", 1, "url")])
    assert await _opened(store, AeadVault([new, lost]), [("env_1", "a@1", 1, "url")]), "its key mends it at any time"


class _Dying:
    """A store whose process dies after so many transactions."""

    def __init__(self, store: SqlStore, after: int) -> None:
        self._store = store
        self._left = after

    async def transact(self, fn: Callable[[Tx], Any]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("killed")
        return await self._store.transact(fn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


Place = tuple[str, str, int, str]


async def _seal(store: SqlStore, vault: AeadVault, places: list[Place]) -> None:
    def put(tx: Tx) -> None:
        for place in places:
            tx.put_secret(*place, vault.seal(*place, str(place)))

    await store.transact(put)


async def _opened(store: SqlStore, vault: AeadVault, places: list[Place]) -> list[str]:
    def read(tx: Tx) -> list[str]:
        return [vault.unseal(*place, tx.secrets(place[0], place[1], place[2])[place[3]][1]) for place in places]

    return await store.transact(read)


# --- the targets that are there by themselves


async def test_what_an_admin_gave_the_target_for_processes_stays(store: SqlStore, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    targets = Targets(store, AeadVault([Key(os.urandom(32))]), {"process": PROCESS})
    admin = Request(Principal("ann", (("*", "admin"),)), "r1")
    await ensure_process(settings, targets, admin)
    (made,) = await targets.all(admin.by)
    assert (made.name, made.credentials) == ("process/local", ())
    more = Target(name="process/local", provider="process", config={**made.config, "fetch_timeout": 60})
    await targets.put(more, {"git.example.com": "a-token"}, admin)
    await ensure_process(settings, targets, admin)
    (kept,) = await targets.all(admin.by)
    assert (kept.config["fetch_timeout"], kept.credentials) == (60, ("git.example.com",))
    await ensure_process(Settings(data_dir=tmp_path / "moved"), targets, admin)
    (moved,) = await targets.all(admin.by)
    assert (moved.config, moved.credentials) == ({"directory": str(tmp_path / "moved" / "processes")}, ())


# --- whether it can work


async def test_a_service_is_ready_only_while_its_worker_runs(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'twin.db'}", local="off")
    async with bound(settings) as idle:
        await idle.services.ready()
    async with bound(settings, work=True) as twin:
        with pytest.raises(Unavailable, match="worker"):
            await twin.services.ready()
        working = asyncio.create_task(twin.worker.run())

        async def is_working() -> bool:
            return twin.worker.working

        await soon(is_working)
        await twin.services.ready()
        twin.worker.stop()
        with pytest.raises(Unavailable, match="worker"):
            await twin.services.ready()
        await working


async def test_a_worker_that_an_error_ended_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'twin.db'}", local="off")
    async with bound(settings, work=True) as twin:

        async def broken() -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(twin.store, "targets", broken)
        with pytest.raises(ZeroDivisionError):
            await twin.worker.run()
        with pytest.raises(Unavailable, match="worker"):
            await twin.services.ready()


def _drafts(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))

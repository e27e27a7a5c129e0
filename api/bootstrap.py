"""The composition root: the only place that binds ports to implementations."""

from __future__ import annotations

import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from msgspec import Struct
from sqlalchemy import make_url

from api.clock import SystemClock
from api.first_start import check_vault, ensure_targets, ensure_token, private_directory
from api.http.app import create_app
from api.http.streams import Stopping
from api.listening import listening
from api.services import Services
from api.webhooks.forms import FORMS
from twin import logs
from twin.domain.component_type import ComponentType
from twin.domain.deciders import DECIDERS
from twin.domain.errors import Unavailable
from twin.domain.inbox import INBOX
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.engine.embedded.names import new_name
from twin.engine.embedded.worker import Worker
from twin.engine.execute import Executor
from twin.engine.opened import OpenedForges, OpenedTargets
from twin.engine.previewing import Previewing
from twin.ports.errands import Errands
from twin.ports.forge import ForgeKind
from twin.ports.provider import ProviderKind
from twin.service.backups import Backups
from twin.service.blocks import Blocks
from twin.service.changes import LocalChanges
from twin.service.component_logs import ComponentLogs
from twin.service.credentials import Revealing
from twin.service.doors import Doors
from twin.service.history import History
from twin.service.inbox_errands import InboxErrands
from twin.service.inboxes import Inboxes
from twin.service.personal_access import PersonalAccess
from twin.service.previews.deploying import Deploying
from twin.service.previews.looking import Looking
from twin.service.previews.publishing import Publishing
from twin.service.previews.pull_errands import PullErrands
from twin.service.previews.source_errands import SourceErrands
from twin.service.previews.sources import PreviewSources
from twin.service.principals import Tokens
from twin.service.project_members import ProjectMembers
from twin.service.project_quotas import ProjectQuotas
from twin.service.publishing import Blueprints
from twin.service.pull_news import PullNews
from twin.service.refusals import Refusals
from twin.service.target_registry import Targets
from twin.service.twins import Twins
from twin.settings import Settings
from twin.store import SqlStore, open_store
from twin.vault.aead import AeadVault
from twin.vault.keys import load_keys

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PROVIDERS = ("postgres", "redis", "nats", "process", "pulumi", "caddy")
FORGES = ("gitea", "github")


def provider_kinds() -> dict[str, ProviderKind]:
    """The providers whose libraries are installed, by name."""
    return _installed(PROVIDERS)


def forge_kinds() -> dict[str, ForgeKind]:
    """The forges whose libraries are installed, by name."""
    return _installed(FORGES)


def _installed(names: tuple[str, ...]) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for name in names:
        try:
            kinds[name] = importlib.import_module(f"providers.{name}").KIND
        except ModuleNotFoundError as missing:
            log.info("provider not available", provider=name, missing=missing.name)
    return kinds


class Bound(Struct, frozen=True, kw_only=True):
    """Everything bound together, open."""

    settings: Settings
    kinds: dict[str, ProviderKind]
    store: SqlStore
    services: Services
    worker: Worker


@asynccontextmanager
async def bound(settings: Settings, *, upgrade: bool | None = None, work: bool = False) -> AsyncIterator[Bound]:
    """Bind and open all; closed at the end. Raises `Invalid` or `Unavailable`, saying the mend, if it cannot be.

    `work`: the caller will run the worker, and is not ready while it does not run.
    """
    private_directory(settings.data_dir)
    vault = AeadVault(load_keys(settings.vault_key_file, settings.vault_key))
    kinds = provider_kinds()
    types = {type_.name: type_ for kind in kinds.values() for type_ in kind.types}
    store = open_store(settings.database_url, deciders=DECIDERS, clock=SystemClock(), upgrade=upgrade)
    try:
        await check_vault(store, vault)
        hubs = forge_kinds()
        opened, forges = OpenedTargets(store, vault, kinds), OpenedForges(store, vault, hubs)
        try:
            yield _bind(settings, kinds, hubs, types, store, vault, opened, forges, work=work)
        finally:
            await forges.close()
            await opened.close()
    finally:
        await store.close()


def _bind(
    settings: Settings,
    kinds: dict[str, ProviderKind],
    hubs: dict[str, ForgeKind],
    types: Mapping[str, ComponentType],
    store: SqlStore,
    vault: AeadVault,
    opened: OpenedTargets,
    forges: OpenedForges,
    *,
    work: bool,
) -> Bound:
    clock, changes, name = SystemClock(), LocalChanges(), new_name()
    component_logs = ComponentLogs(store, opened)
    errands = _errands(types, store, forges, component_logs, changes, clock)
    executor = Executor(
        worker=name,
        store=store,
        types=types,
        targets=opened,
        vault=vault,
        changes=changes,
        clock=clock,
        deadline=settings.step_deadline,
        errands=errands,
    )
    worker = Worker(name, store, executor, slots=settings.slots, lease=settings.lease, drain=settings.drain)

    async def ready() -> None:
        await store.next_due()
        if work and not worker.working:
            raise Unavailable("the worker does not run: the service has just begun, or it ends", mend="Try again.")

    services = Services(
        twins=Twins(store, types, changes, clock, worker, Previewing(store, types, opened, vault, clock)),
        history=History(store, changes),
        blueprints=Blueprints(store, types, clock, max_bytes=settings.max_bundle_bytes),
        targets=Targets(store, vault, {**kinds, **hubs}),
        preview_sources=PreviewSources(store, changes, frozenset(hubs)),
        backups=Backups(store, settings.data_dir),
        blocks=Blocks(store, changes),
        revealing=Revealing(store, vault),
        project_members=ProjectMembers(store, changes),
        quotas=ProjectQuotas(store, changes),
        personal_access=PersonalAccess(store, vault),
        doors=Doors(store, vault, types, clock),
        logs=component_logs,
        inboxes=Inboxes(store, vault, changes),
        tokens=Tokens(store),
        refusals=Refusals(store),
        types=types,
        settings=settings,
        clock=clock,
        ready=ready,
    )
    return Bound(settings=settings, kinds=kinds, store=store, services=services, worker=worker)


def _errands(
    types: Mapping[str, ComponentType],
    store: SqlStore,
    forges: OpenedForges,
    logs: ComponentLogs,
    changes: LocalChanges,
    clock: SystemClock,
) -> dict[str, Errands]:
    """Who does what entities other than environments need."""
    translations = {kind: form.translate for kind, form in FORMS.items()}
    looking = Looking(store, forges, sandbox=any(each.sandbox for each in types.values()))
    deploying = Deploying(store, types, forges, changes, clock)
    return {
        INBOX.kind: InboxErrands(store, forges, PullNews(store), translations, changes, clock),
        PULL_REQUEST.kind: PullErrands(store, changes, looking, deploying, Publishing(store, forges, logs)),
        PREVIEW_SOURCE.kind: SourceErrands(store, forges, changes, clock),
    }


def serve(settings: Settings, *, worker: bool = True) -> None:
    """Serve the API, and work, until SIGTERM or SIGINT; then drain."""
    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(_serve(settings, work=worker))


async def _serve(settings: Settings, *, work: bool) -> None:
    async with bound(settings, work=work) as twin, listening(settings.host, settings.port) as places:
        await ensure_token(twin.store, settings)
        await ensure_targets(settings, twin.services.targets, twin.kinds, FORGES, _say, at=_address(settings, places))
        stopping = Stopping()
        config = uvicorn.Config(
            create_app(twin.services, stopping),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = _Server(config, stopping)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.leave)
        working = asyncio.create_task(twin.worker.run(), name="worker") if work else None
        try:
            if working is None:
                await server.serve(places)
            else:
                await _serve_while(server, places, working)
        finally:
            if working is not None:
                twin.worker.stop()
                await working


def _address(settings: Settings, places: list[socket.socket]) -> str:
    """Where servers and browsers of this machine reach the service."""
    port = next((each.getsockname()[1] for each in places), settings.port)
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - whoever listens everywhere
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn, but it says where it is, leaves the signals to us (it would end the process before the drain), and
    wakes once a second instead of ten times: a service that nobody talks to should cost next to nothing."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._left = asyncio.Event()

    async def main_loop(self) -> None:
        """Tick until it should end. Uvicorn counts tenths of a second; whole ones renew the Date header."""
        tenths = 0
        while not await self.on_tick(tenths):
            tenths += 10
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._left.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets)
        if self.should_exit:
            return
        port = next((each.getsockname()[1] for each in sockets or ()), self.config.port)
        _say(f"Twin is at http://{self.config.host}:{port}")

    def leave(self) -> None:
        """End; asked again, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._left.set()
        self._stopping.stop()


async def _serve_while(server: _Server, places: list[socket.socket], working: asyncio.Task[None]) -> None:
    """Serve; a worker that ends by itself has failed, and then the service must not look alive."""
    serving = asyncio.create_task(server.serve(places), name="http")
    await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        log.error("the worker has ended; stopping the service")
        server.leave()
    await serving


def worker(settings: Settings) -> None:
    """Work, without an API, until SIGTERM or SIGINT; then drain. Needs PostgreSQL: SQLite serves one process."""
    logs.configure(settings.log_format, settings.log_level)
    if settings.database_url.startswith("sqlite"):
        raise Unavailable(
            "a worker of its own needs PostgreSQL: SQLite serves a single process, and `twin serve` works in it",
            mend="Set TWIN_DATABASE_URL=postgresql://…, or run `twin serve` alone.",
        )
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    async with bound(settings) as twin:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, twin.worker.stop)
        _say("Twin worker is ready")
        await twin.worker.run()


def upgrade(settings: Settings) -> None:
    """Bring the database's schema to this version's."""
    logs.configure(settings.log_format, settings.log_level)
    private_directory(settings.data_dir)

    async def run() -> None:
        await open_store(settings.database_url, deciders=DECIDERS, clock=SystemClock(), upgrade=True).close()

    asyncio.run(run())


def copy_stopped(settings: Settings, to: Path) -> bool:
    """Copy the database of a service that does not run; False if there is none. Raises `Rejected` for PostgreSQL and
    `Unavailable` if a service has it open after all."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "postgresql":
        from twin.store.postgres import refused_copy

        raise refused_copy(url)
    path = Path(url.database or "").absolute()
    if not path.is_file():
        return False
    from twin.store.sqlite_copy import copy_stopped

    copy_stopped(path, to)
    return True


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

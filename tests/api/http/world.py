"""The HTTP application over real use cases, a real store in a folder of its own, and providers that only talk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from litestar import Litestar

from api.clock import SystemClock
from api.http.app import create_app
from api.http.streams import Stopping
from api.services import Services
from twin.domain.blueprint_document import document
from twin.domain.decider import Cause
from twin.domain.deciders import DECIDERS
from twin.domain.environment import Environment
from twin.domain.errors import Blocked, Invalid
from twin.domain.identity import TWIN, ComponentRef, Placement
from twin.domain.planner import plan
from twin.domain.steps import EndStep, FailedBlocked, Result, StartStep, Step, Succeeded, Swept
from twin.domain.targets import Target
from twin.domain.twin import ENVIRONMENT
from twin.engine.previewing import Previewing
from twin.ports.provider import Change, LogLine, StepContext
from twin.ports.store import Claimed, StoredToken, Tx
from twin.service.backups import Backups
from twin.service.blocks import Blocks
from twin.service.bundles import pack
from twin.service.changes import LocalChanges
from twin.service.component_logs import ComponentLogs
from twin.service.credentials import Revealing
from twin.service.doors import Doors
from twin.service.history import History
from twin.service.inboxes import Inboxes
from twin.service.personal_access import PersonalAccess
from twin.service.previews.sources import PreviewSources
from twin.service.principals import Tokens, hash_of
from twin.service.project_members import ProjectMembers
from twin.service.project_quotas import ProjectQuotas
from twin.service.publishing import Blueprints
from twin.service.refusals import Refusals
from twin.service.target_registry import Targets
from twin.service.twins import Twins
from twin.settings import Settings
from twin.store import SqlStore, open_store
from twin.testing.blueprints import TARGETS, TYPES, guestbook
from twin.vault.aead import AeadVault
from twin.vault.keys import Key

ROLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "root": (("*", "admin"),),
    "dev": (("shop", "developer"),),
    "reader": (("shop", "viewer"),),
    "stranger": (("other", "developer"),),
    "auditor": (("*", "auditor"),),
}
GZIP = {"Content-Type": "application/gzip"}
BLOCK = "data/data-1/quota"


class Kind:
    """A provider that is never opened; the registry needs no more of it."""

    types = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        if "password" not in credentials:
            raise Invalid("credentials.password is missing", field="credentials.password", mend="Give it.")

    def open(self, target: Target, credentials: Mapping[str, str]) -> Any:
        raise AssertionError("no engine runs here")


class Chatty:
    """A provider that is only asked: for logs, and for previews. `left` is set when a follower's stream has ended."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def logs(self, ref: ComponentRef, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        try:
            for number in range(min(lines, 3)):
                yield LogLine(source=f"{ref.component}/1", text=f"line {number}")
            if follow:
                await asyncio.Event().wait()  # nothing more is ever written
        finally:
            self.left.set()

    async def identify(self) -> Placement:
        return Placement("any", "any:1")

    async def preview(self, ref: ComponentRef, step: StepContext) -> tuple[Change, ...]:
        if ref.component == "db":
            raise Blocked("may not look", key="data-1/look", mend="let it look")
        return (
            Change(
                resource=f"process {ref.component}", kind="create", fields={"host": step.inputs["env"]["CACHE_HOST"]}
            ),
        )


class Open:
    """Opens the same provider for every target."""

    def __init__(self, provider: Chatty) -> None:
        self._provider = provider

    async def provider(self, target: str) -> Any:
        return self._provider

    def credentials(self, target: str) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """The application, and what lies below it for those who must reach there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.store: SqlStore = open_store(
            f"sqlite:///{folder / 'twin.db'}",
            deciders=DECIDERS,
            clock=self.clock,
        )
        self.changes = LocalChanges()
        self.vault = AeadVault([Key(os.urandom(32))])
        self.chatty = Chatty()
        self.unready: Exception | None = None
        self.stopping = Stopping()
        settings = Settings(data_dir=folder, max_bundle_bytes=64 * 1024)
        previews = Previewing(self.store, TYPES, Open(self.chatty), self.vault, self.clock)
        self.services = Services(
            twins=Twins(self.store, TYPES, self.changes, self.clock, previews=previews),
            history=History(self.store, self.changes),
            blueprints=Blueprints(self.store, TYPES, self.clock, max_bytes=settings.max_bundle_bytes),
            targets=Targets(self.store, self.vault, {name: Kind(name) for name in ("data", "run")}),
            backups=Backups(self.store, folder),
            blocks=Blocks(self.store, self.changes),
            project_members=ProjectMembers(self.store, self.changes),
            quotas=ProjectQuotas(self.store, self.changes),
            personal_access=PersonalAccess(self.store, self.vault),
            doors=Doors(self.store, self.vault, TYPES, self.clock),
            revealing=Revealing(self.store, self.vault),
            logs=ComponentLogs(self.store, Open(self.chatty)),
            refusals=Refusals(self.store),
            preview_sources=PreviewSources(self.store, self.changes, frozenset({"gitea", "github"})),
            inboxes=Inboxes(self.store, self.vault, self.changes),
            tokens=Tokens(self.store),
            types=TYPES,
            settings=settings,
            clock=self.clock,
            ready=self.ready,
        )
        self.app: Litestar = create_app(self.services, self.stopping)

    async def ready(self) -> None:
        if self.unready is not None:
            raise self.unready

    async def seed(self) -> None:
        """Tokens and targets."""

        def keep(tx: Tx) -> None:
            for name, roles in ROLES.items():
                tx.put_token(StoredToken(hash=hash_of(token(name)), name=name, roles=roles, created_at=tx.now))
            for target in TARGETS:
                tx.put_target(target)

        await self.store.transact(keep)

    def client(self, principal: str | None = "root", **headers: str) -> httpx.AsyncClient:
        """A client with that principal's token."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://twin", headers=bearer(principal) | headers)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[httpx.AsyncClient]:
        """An admin's client of a real server: only that sends a stream piece by piece."""
        config = uvicorn.Config(self.app, port=0, log_config=None, ws="none", lifespan="off")
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer("root")) as client:
                yield client
        finally:
            await server.shutdown()

    # -- what an engine would do

    async def work(self, environment: str) -> None:
        """Run every step of the plan, all succeeding; the database's secret goes to the vault."""
        while steps := await self._ready_steps(environment):
            for step in steps:
                await self.end(environment, step, _success(step))
        sealed = self.vault.seal(environment, "db@1", 1, "url", "postgresql://u:hunter2@db")
        await self.store.transact(lambda tx: tx.put_secret(environment, "db@1", 1, "url", sealed))

    async def begin(self, environment: str) -> Claimed:
        """Start the first step that is ready; it runs until somebody ends it."""
        step = (await self._ready_steps(environment))[0]
        (task,) = await self.store.claim("w1", {step.target: 1}, 1)
        given = StartStep(key=step.key, epoch=task.epoch, worker="w1", placement=_placement(step))
        await self.store.transact(lambda tx: tx.transition(ENVIRONMENT.kind, environment, given, Cause(TWIN)))
        self.changes.notify(environment)
        return task

    async def block(self, environment: str) -> None:
        """Block the first step that is ready."""
        step = (await self._ready_steps(environment))[0]
        blocked = FailedBlocked(message="the quota is used up", block=BLOCK, owner="platform", mend="raise it")
        await self.end(environment, step, blocked)

    async def end(self, environment: str, step: Step, result: Result) -> None:
        """One attempt, from intent to result."""

        def attempt(tx: Tx) -> None:
            env: Environment = tx.state(ENVIRONMENT.kind, environment)
            start = StartStep(key=step.key, epoch=env.epoch + 1, worker="w1", placement=_placement(step))
            tx.transition(ENVIRONMENT.kind, environment, start, Cause(TWIN))
            ended = EndStep(key=step.key, epoch=env.epoch + 1, result=result)
            tx.transition(ENVIRONMENT.kind, environment, ended, Cause(TWIN))

        await self.store.transact(attempt)
        self.changes.notify(environment)

    async def _ready_steps(self, environment: str) -> list[Step]:
        row = await self.store.entity(ENVIRONMENT.kind, environment)
        assert row is not None, "the environment is there"
        return [step for step in plan(row.state).steps if not step.after]


def _placement(step: Step) -> Placement:
    return Placement(step.target, f"{step.target}.test:1", identity=f"server-of-{step.target}")


def _success(step: Step) -> Result:
    if step.key.verb == "sweep":
        return Swept(placement=_placement(step))
    outputs = {"host": f"{step.key.instance}.test", "url": f"http://{step.key.instance}"}
    return Succeeded(placement=_placement(step), external_id=f"id-{step.key.instance}", outputs=outputs)


def token(principal: str) -> str:
    return f"twin_{principal}-token-{'x' * 32}"


def bearer(principal: str | None) -> dict[str, str]:
    return {} if principal is None else {"Authorization": f"Bearer {token(principal)}"}


def bundle(folder: Path, version: str = "1.0.0", **changes: Any) -> bytes:
    """The guestbook's folder, packed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blueprint.yaml").write_bytes(msgspec.json.encode(document(guestbook(version, **changes))))
    (folder / "app.py").write_text("print('hello')\n")
    return pack(folder).content

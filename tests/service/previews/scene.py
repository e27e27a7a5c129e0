"""A world with a forge in memory, whose worker runs errands too, and what people do there."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from tests.service.previews.model_forge import REPOSITORY, ModelForge, ModelForgeKind
from twin.domain.decider import Cause
from twin.domain.environment import Environment
from twin.domain.identity import TWIN
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.inputs import CommandGiven, Hint
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import Origin, PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE, PreviewSource
from twin.domain.twin import ENVIRONMENT
from twin.engine.opened import OpenedForges
from twin.service.component_logs import ComponentLogs
from twin.service.previews.deploying import Deploying
from twin.service.previews.looking import Looking
from twin.service.previews.publishing import Publishing
from twin.service.previews.pull_errands import PullErrands
from twin.service.previews.source_errands import SourceErrands
from twin.service.previews.sources import PreviewSources
from twin.testing.blueprints import TYPES
from twin.testing.reading import read_here
from twin.testing.world import World

FORGE = "gitea/main"
A, B, C = "a" * 40, "b" * 40, "c" * 40
MINUTE = timedelta(minutes=1)


class Scene:
    """A world whose worker runs errands too."""

    def __init__(self, world: World, *, sandboxes: Collection[str] = ()) -> None:
        """`sandboxes`: the types that have one."""
        self.world = world
        self.forge = ModelForge()
        kind = ModelForgeKind(self.forge)
        self.forges = forges = OpenedForges(world.store, world.vault, {kind.name: kind})
        types = {name: replace(type_, sandbox=name in sandboxes) for name, type_ in TYPES.items()}
        looking = Looking(world.store, forges, sandbox=bool(sandboxes), read=read_here)
        deploying = Deploying(world.store, types, forges, world.changes, world.clock)
        publishing = Publishing(world.store, forges, ComponentLogs(world.store, world.targets))
        world.errands[PULL_REQUEST.kind] = PullErrands(world.store, world.changes, looking, deploying, publishing)
        world.errands[PREVIEW_SOURCE.kind] = SourceErrands(world.store, forges, world.changes, world.clock)
        self.sources = PreviewSources(world.store, world.changes, frozenset({kind.name}))
        self._deliveries = 0

    async def configure(self, **more: Any) -> None:
        given = {"forge": FORGE, "repository": REPOSITORY, "project": "shop", "blueprint": "guestbook", **more}
        await self.sources.put("guestbook", SourceConfig(**given), self.world.request())
        await self.settle()

    def origin(self, number: int) -> Origin:
        return Origin(source="guestbook", forge=FORGE, repository=REPOSITORY, number=number, project="shop")

    async def source(self) -> PreviewSource:
        row = await self.world.store.entity(PREVIEW_SOURCE.kind, "src_guestbook")
        assert row is not None
        state: PreviewSource = row.state
        return state

    async def hint(self, number: int = 42) -> None:
        """A webhook comes, and what follows from it."""
        await self.say(number)
        await self.settle()

    async def say(self, number: int) -> None:
        """A webhook comes, and nothing is done yet."""
        self._deliveries += 1
        given = Hint(origin=self.origin(number), delivery=f"d{self._deliveries}", what="pull_request")
        await self._give(number, given)

    async def command(self, text: str, number: int = 42, permission: Any = "write") -> None:
        self._deliveries += 1
        command, _, argument = text.partition(" ")
        row = await self.world.store.entity(PULL_REQUEST.kind, pull_id("guestbook", number))
        known = row.state.pull if row is not None else None
        given = CommandGiven(
            origin=self.origin(number),
            comment=f"c{self._deliveries}",
            command=command,
            argument=argument,
            by="bo",
            permission=permission,
            sha=known.head_sha if known is not None else None,
        )
        await self.give(number, given)

    async def give(self, number: int, given: Any) -> None:
        await self._give(number, given)
        await self.settle()

    async def _give(self, number: int, given: Any) -> None:
        entity = pull_id("guestbook", number)
        await self.world.store.transact(lambda tx: tx.transition(PULL_REQUEST.kind, entity, given, Cause(TWIN)))

    async def settle(self) -> None:
        """Let a minute pass: more than it takes to be sure, less than to reconcile."""
        await self.world.engine.run_until_quiet(until=self.world.clock.now() + MINUTE)

    async def pull(self, number: int = 42) -> PullRequest:
        row = await self.world.store.entity(PULL_REQUEST.kind, pull_id("guestbook", number))
        assert row is not None
        state: PullRequest = row.state
        return state

    async def environment(self, number: int = 42) -> Environment | None:
        row = await self.world.store.named(ENVIRONMENT.kind, "shop", f"pr-{number}")
        return row.state if row is not None else None

    async def shown(self, number: int = 42) -> str | None:
        """The commit that lives."""
        env = await self.environment(number)
        if env is None or env.certificate is not None:
            return None
        ref: str = env.desired.components["app"].inputs["source"]["ref"]
        return ref

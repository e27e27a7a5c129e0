"""Previews: the call of an apply that is not made. The same provider is asked with the same context as far as it is
known; nothing is leased, started, minted or kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import structlog
from msgspec.structs import replace

from twin.domain.component_type import ComponentType
from twin.domain.environment import Environment
from twin.domain.errors import Terminal, Unavailable
from twin.domain.identity import Placement
from twin.domain.steps import Plan, Running, Step
from twin.domain.twin import ENVIRONMENT
from twin.engine.attempts import Attempt
from twin.engine.calls import NEED_SECRETS, Library, Mask, arrive, context, failed
from twin.engine.placing import configured
from twin.engine.secrets import Opened, Secrets
from twin.ports.clock import Clock
from twin.ports.previews import Preview
from twin.ports.provider import UNKNOWN, Change, PreviewsChanges
from twin.ports.store import Claimed, Store, Tx
from twin.ports.targets import OpenTargets
from twin.ports.vault import Vault

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

DEADLINE = 90.0
"""Seconds for all previews of a plan together."""

AT_ONCE = 4
"""Previews that run at the same time in this process: each may start programs of others."""


class Previewing:
    """See `twin.ports.previews.Previews`."""

    def __init__(
        self,
        store: Store,
        types: Mapping[str, ComponentType],
        targets: OpenTargets,
        vault: Vault,
        clock: Clock,
        *,
        deadline: float = DEADLINE,
    ) -> None:
        self._store = store
        self._types = types
        self._targets = targets
        self._secrets = Secrets(vault, types)
        self._clock = clock
        self._deadline = deadline
        self._room = asyncio.Semaphore(AT_ONCE)

    async def previews(self, env: Environment, left: Plan) -> Mapping[str, Preview]:
        """Nothing is opened or read for a plan in which nothing previews."""
        steps = [step for step in left.steps if self._has_preview(env, step)]
        if not steps:
            return {}
        until = asyncio.get_running_loop().time() + self._deadline
        attempts = await self._store.transact(lambda tx: [self._attempt(tx, env, left, step) for step in steps])
        found = await asyncio.gather(*(self._preview(attempt, until) for attempt in attempts))
        return {str(attempt.key): preview for attempt, preview in zip(attempts, found, strict=True)}

    def _has_preview(self, env: Environment, step: Step) -> bool:
        """What runs already is not asked about: it changes as we look."""
        wanted = env.desired.components.get(step.key.component)
        type_ = self._types.get(wanted.type) if wanted is not None else None
        return type_ is not None and type_.previews and step.key.verb == "apply" and not step.running

    async def _preview(self, attempt: Attempt, until: float) -> Preview:
        mask = Mask(attempt, self._targets)
        try:
            async with asyncio.timeout_at(until), self._room:
                changes = await self._changes(attempt)
        except Exception as error:
            return Preview(failure=failed(error, attempt, mask, self._deadline))
        return Preview(changes=tuple(_masked(each, mask) for each in changes))

    async def _changes(self, attempt: Attempt) -> tuple[Change, ...]:
        if attempt.secrets.unreadable is not None and attempt.key.verb in NEED_SECRETS:
            raise attempt.secrets.unreadable
        provider = await self._targets.provider(attempt.running.target)
        await arrive(attempt, provider)
        if not isinstance(provider, PreviewsChanges):
            raise Terminal(f"program error in the provider: {attempt.ref.type} promises to preview and cannot")
        library = Library(self._read_bundle, self._no_environment, lambda progress: None)
        return await provider.preview(attempt.ref, context(attempt, library))

    def _attempt(self, tx: Tx, env: Environment, left: Plan, step: Step) -> Attempt:
        """As `Executor` would start it, without the intent."""
        key, now = step.key, self._clock.now()
        wanted = env.desired.components[key.component]
        instance = env.instances.get(key.instance)
        target = next((each for each in tx.targets() if each.name == step.target), None)
        running = Running(
            key=key,
            target=step.target,
            epoch=0,
            attempt=env.attempts.get(str(key), 0) + 1,
            worker="preview",
            started_at=now,
            deadline=now + timedelta(seconds=self._deadline),
            inputs=wanted.inputs,
            credential=wanted.credential_version,
        )
        return Attempt(
            task=Claimed(
                entity_kind=ENVIRONMENT.kind, entity=env.id, kind="step", key=str(key), queue=step.target, epoch=0
            ),
            key=key,
            running=running,
            env=env,
            unknown=False,
            placement=instance.placement if instance is not None else env.placements.get(step.target),
            configured=configured(target) if target is not None else Placement(step.target, "not configured"),
            secrets=self._opened(tx, env, running),
            bundle=wanted.bundle,
            unsettled=frozenset(each.key.component for each in left.steps if each.key.verb in ("seed", "apply")),
        )

    def _opened(self, tx: Tx, env: Environment, running: Running) -> Opened:
        """What there is; what would be minted is not known yet."""
        opened = self._secrets.opened(tx, env, running, running.inputs)
        wanted = env.desired.components[running.key.component]
        minted = dict.fromkeys(self._types[wanted.type].minted, UNKNOWN)
        versions = {version: {**minted, **values} for version, values in opened.credentials.items()}
        return replace(opened, own={**minted, **opened.own}, credentials=versions)

    async def _read_bundle(self, digest: str) -> bytes:
        content = await self._store.transact(lambda tx: tx.bundle(digest))
        if content is None:
            raise Unavailable(f"bundle {digest} is not in the store")
        return content

    @staticmethod
    async def _no_environment(environment: str) -> Environment | None:
        return None


def _masked(change: Change, mask: Mask) -> Change:
    fields = {mask(name): mask(text) for name, text in change.fields.items()}
    return replace(change, resource=mask(change.resource), fields=fields)

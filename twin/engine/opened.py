"""What is open, one per target: opened anew when the target's config or credentials change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from twin.domain.errors import Blocked, Invalid
from twin.domain.platform import PLATFORM_ID
from twin.domain.previews.config import TIER
from twin.domain.targets import Target
from twin.ports.forge import Forge
from twin.ports.provider import Provider
from twin.ports.store import Store
from twin.ports.vault import Vault


class Closable(Protocol):
    """What holds connections."""

    async def close(self) -> None:
        """Give them back."""
        ...


C = TypeVar("C", bound=Closable)
C_co = TypeVar("C_co", bound=Closable, covariant=True)


class Kind(Protocol[C_co]):
    """What opens targets of one name's kind: a `ProviderKind` or a `ForgeKind`."""

    def open(self, target: Target, credentials: Mapping[str, str]) -> C_co:
        """Open it. Connects lazily. Raises `Invalid` if the configuration is wrong."""
        ...


class Opened(Generic[C]):
    """What was opened by these kinds. What was replaced is closed only with all others: somebody may use it."""

    def __init__(self, store: Store, vault: Vault, kinds: Mapping[str, Kind[C]]) -> None:
        self._store = store
        self._vault = vault
        self._kinds = kinds
        self._open: dict[str, tuple[Target, dict[str, str], C]] = {}
        self._replaced: list[C] = []
        self._lock = asyncio.Lock()

    async def get(self, target: str, check: Callable[[Target], None] = lambda _: None) -> C:
        """The target as it is configured now, opened. Raises `Blocked` if it is not, or is wrongly; and what `check`
        raises."""
        configured, credentials = await self._configured(target)
        check(configured)
        async with self._lock:
            if (known := self._open.get(target)) is not None:
                if known[:2] == (configured, credentials):
                    return known[2]
                self._replaced.append(known[2])
            opened = self._opened(configured, credentials)
            self._open[target] = (configured, credentials, opened)
            return opened

    def credentials(self, target: str) -> tuple[str, ...]:
        """What the target was opened with; nothing if it is not open."""
        known = self._open.get(target)
        return () if known is None else tuple(known[1].values())

    async def close(self) -> None:
        """Close all that were opened."""
        opened = [*self._replaced, *(each for _, _, each in self._open.values())]
        self._open.clear()
        self._replaced.clear()
        for each in opened:
            await each.close()

    def _opened(self, target: Target, credentials: dict[str, str]) -> C:
        try:
            return self._kinds[target.provider].open(target, credentials)
        except Invalid as problem:
            raise Blocked(
                f"target {target.name} is wrongly configured: {problem.message}",
                key=f"{target.name}/configuration",
                mend=f"Correct it with: twin target add {target.name} …",
            ) from None

    async def _configured(self, name: str) -> tuple[Target, dict[str, str]]:
        target, sealed = await self._store.target(name)
        if target is None or target.provider not in self._kinds:
            raise Blocked(
                f"target {name} is not configured any more",
                key=f"{name}/missing",
                mend=f"Add it again with its old address: twin target add {name} …",
            )
        return target, {
            key: self._vault.unseal(PLATFORM_ID, name, version, key, text) for key, (version, text) in sealed.items()
        }


class OpenedTargets(Opened[Provider]):
    """See `twin.ports.targets.OpenTargets`."""

    async def provider(self, target: str) -> Provider:
        """The target's provider as it is configured now."""
        return await self.get(target)


class OpenedForges(Opened[Forge]):
    """See `twin.ports.forge.OpenForges`."""

    async def forge(self, target: str, project: str | None = None) -> Forge:
        """The forge as it is configured now, and as far as it is for that project's previews."""

        def check(configured: Target) -> None:
            if project is not None and not configured.allows(project, TIER):
                raise Blocked(
                    f"target {target} does not take previews of project {project}",
                    key=f"{target}/limits/{project}",
                    mend=f"Widen its projects and tiers: twin target add {target} …",
                )

        return await self.get(target, check)

"""Providers that are open: one per target, opened anew when the target's config or credentials change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from twin.domain.errors import Blocked, Invalid
from twin.domain.platform import PLATFORM_ID
from twin.domain.targets import Target
from twin.ports.provider import Provider, ProviderKind
from twin.ports.store import Store
from twin.ports.vault import Vault


class OpenedTargets:
    """See `twin.ports.targets.OpenTargets`. A replaced provider is closed only with all others: a step may use it."""

    def __init__(self, store: Store, vault: Vault, kinds: Mapping[str, ProviderKind]) -> None:
        self._store = store
        self._vault = vault
        self._kinds = kinds
        self._open: dict[str, tuple[Target, dict[str, str], Provider]] = {}
        self._replaced: list[Provider] = []
        self._lock = asyncio.Lock()

    async def provider(self, target: str) -> Provider:
        """The target's provider as it is configured now."""
        configured, credentials = await self._configured(target)
        async with self._lock:
            if (known := self._open.get(target)) is not None:
                if known[:2] == (configured, credentials):
                    return known[2]
                self._replaced.append(known[2])
            provider = self._opened(configured, credentials)
            self._open[target] = (configured, credentials, provider)
            return provider

    def credentials(self, target: str) -> tuple[str, ...]:
        """What the target was opened with; nothing if it is not open."""
        known = self._open.get(target)
        return () if known is None else tuple(known[1].values())

    async def close(self) -> None:
        """Close all that were opened."""
        providers = [*self._replaced, *(provider for _, _, provider in self._open.values())]
        self._open.clear()
        self._replaced.clear()
        for provider in providers:
            await provider.close()

    def _opened(self, target: Target, credentials: dict[str, str]) -> Provider:
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

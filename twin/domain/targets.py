"""Targets: the configured places that components are provisioned into."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Target(Struct, frozen=True, kw_only=True):
    """A provider with its endpoint, limited to projects and tiers (empty = all).

    `config` is the provider's own typed configuration without secrets (see its spec.py); credentials are kept in the
    vault. `concurrency` bounds the steps in flight on it, `rate` the steps started per minute (0 = unlimited).
    """

    name: str
    provider: str
    config: dict[str, Any] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    default: bool = True
    concurrency: int = 4
    rate: int = 0

    def allows(self, project: str, tier: str) -> bool:
        """Whether an environment of that project and tier may be placed here."""
        return (not self.projects or project in self.projects) and (not self.tiers or tier in self.tiers)

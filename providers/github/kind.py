"""GitHub before it is configured. Its library takes a tenth of a second to load, and a start needs none of it."""

from __future__ import annotations

from collections.abc import Mapping

from providers.github.spec import PROVIDER, configured
from twin.domain.targets import Target
from twin.ports.forge import Forge


class GitHubKind:
    """See `twin.ports.forge.ForgeKind`."""

    name = PROVIDER

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field. No I/O."""
        configured(target.config, credentials)

    def open(self, target: Target, credentials: Mapping[str, str]) -> Forge:
        """The GitHub of this target."""
        from providers.github.forge import GitHubForge

        return GitHubForge(target.name, *configured(target.config, credentials))

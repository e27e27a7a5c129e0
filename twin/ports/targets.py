"""The port to providers that are ready to be worked on, one per target."""

from __future__ import annotations

from typing import Protocol

from twin.ports.provider import Provider


class OpenTargets(Protocol):
    """Opens providers and keeps them while they are used."""

    async def provider(self, target: str) -> Provider:
        """The provider of a target, opened with its present config and credentials. Raises `Blocked`
        (`<target>/missing`) when the target is not configured any more."""
        ...

    def credentials(self, target: str) -> tuple[str, ...]:
        """The credentials that an open target was opened with, so that no message quotes them."""
        ...

    async def close(self) -> None:
        """Close all that are open."""
        ...

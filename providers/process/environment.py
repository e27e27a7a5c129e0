"""The environment of a service's processes."""

from __future__ import annotations

from collections.abc import Mapping

from providers.process.layout import ServiceDirectory
from twin.children import environment
from twin.children.environment import marks
from twin.domain.identity import ComponentRef


def clean(ref: ComponentRef, home: str, directory: ServiceDirectory, slot: str) -> dict[str, str]:
    """What builds see: nothing of the worker's own, and the marks."""
    return environment.clean(home, directory.tmp, marks(ref, slot))


def of_replica(
    ref: ComponentRef, home: str, directory: ServiceDirectory, slot: str, index: int, env: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a replica; PORT is added by the supervisor, who chooses it."""
    return {**clean(ref, home, directory, slot), **env, "REPLICA": str(index), **marks(ref, slot)}

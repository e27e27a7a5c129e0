"""Who and where: identifiers, actors, component references and placements."""

from __future__ import annotations

from typing import Literal, NewType

from msgspec import Struct

EnvironmentId = NewType("EnvironmentId", str)
OperationId = NewType("OperationId", str)
ComponentName = str

NAME_PATTERN = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""Names of environments and projects."""

COMPONENT_PATTERN = r"^[a-z]([-a-z0-9]{0,24}[a-z0-9])?$"
"""Names of components: at most 26 characters, so that derived names fit in 63 (PostgreSQL's limit)."""


class Actor(Struct, frozen=True):
    """Who caused something: a person, a token, a pull request, a timer, or the twin itself."""

    kind: Literal["person", "token", "pull_request", "timer", "twin", "operator"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


TWIN = Actor("twin", "twin")


class Placement(Struct, frozen=True):
    """Where a component stands: a target and the server behind it.

    `endpoint` is the address without credentials; `identity` what the server says of itself (for PostgreSQL its
    system identifier), known after the first contact. A changed one is Blocked, never "absent".
    """

    target: str
    endpoint: str
    identity: str | None = None


class ComponentRef(Struct, frozen=True):
    """One incarnation of one component of one environment: all that names in the world derive from."""

    environment: EnvironmentId
    component: ComponentName
    incarnation: int
    type: str
    project: str
    tier: str
    environment_name: str

    @property
    def name(self) -> str:
        """The name in the world: [a-z0-9_], at most 63 characters, the same on every attempt."""
        return physical_name(self.environment, self.component, self.incarnation)

    @property
    def mark(self) -> str:
        """The mark of ownership that providers put on what they create."""
        return ownership_mark(self.environment)


def physical_name(environment: EnvironmentId, component: str, incarnation: int) -> str:
    """`tw_<environment's ULID>_<component>_<incarnation>`: 3 + 26 + 1 + at most 26 + 1 + at most 6 characters.

    Component names hold no underscore, so two names never collide.
    """
    return f"tw_{environment.removeprefix('env_').lower()}_{component.replace('-', '_')}_{incarnation}"


def ownership_mark(environment: EnvironmentId) -> str:
    """The text by which `owned()` finds again what belongs to an environment."""
    return f"twin:environment={environment}"

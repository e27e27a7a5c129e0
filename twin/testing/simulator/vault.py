"""A vault without cryptography: it keeps the place beside the value, and refuses to open it elsewhere."""

from __future__ import annotations

from twin.domain.errors import Unavailable
from twin.testing.simulator.setting import Fate


class SimulatedVault:
    """See `twin.ports.vault.Vault`. Passwords come from the seed."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate

    def seal(self, entity: str, component: str, version: int, name: str, value: str) -> bytes:
        """The value with its place."""
        return "|".join((entity, component, str(version), name, value)).encode()

    def unseal(self, entity: str, component: str, version: int, name: str, sealed: bytes) -> str:
        """The value, at its place."""
        *place, value = sealed.decode().split("|", 4)
        if place != [entity, component, str(version), name]:
            raise Unavailable(f"secret {name!r} of {component} in {entity} was moved")
        return value

    def mint(self) -> str:
        """A password."""
        return self._fate.random.randbytes(8).hex()

"""The port to the cipher that keeps secrets at rest; where the ciphertext lies is the store's concern."""

from __future__ import annotations

from typing import Protocol


class Vault(Protocol):
    """Encrypts and decrypts one secret, bound to its place: moved ciphertext does not open."""

    def seal(self, entity: str, component: str, version: int, name: str, value: str) -> bytes:
        """Ciphertext under the current key."""
        ...

    def unseal(self, entity: str, component: str, version: int, name: str, sealed: bytes) -> str:
        """The secret; raises `twin.domain.errors.Unreadable` when no configured key opens it."""
        ...

    def mint(self) -> str:
        """A fresh random password: letters and digits, at least 128 bits."""
        ...

"""AES-256-GCM over one secret, bound to its place.

A sealed secret is `1 | key id (4) | nonce (12) | ciphertext and tag`. The associated data is that header and the
place (entity, component, version, name), each part preceded by its length: ciphertext moved to any other place, or
under another header, does not open. Nonces are random: with 2^32 seals under one key a repetition is still less likely
than 2^-32 (NIST SP 800-38D, 8.3), and a platform seals far fewer.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twin.domain.errors import Invalid, Unreadable
from twin.vault.keys import Key

_FORMAT = b"\x01"
_KEY_ID, _NONCE = 4, 12
_HEADER = 1 + _KEY_ID + _NONCE
_ALPHABET = string.ascii_letters + string.digits
_MINTED_LENGTH = 24
"""62^24 > 2^142."""

CHECK_PLACE = ("platform", "vault", 1, "check")
"""Where the canary is kept."""

_CHECK_VALUE = "this vault opens what it has sealed"
_MEND = "Put the key that sealed it into TWIN_VAULT_KEY or the key file, after the current one, and start again."


class AeadVault:
    """Implements `twin.ports.vault.Vault`. The first key seals; all of them open."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("a vault needs at least one key")
        self._current = keys[0].id
        self._ciphers = {key.id: AESGCM(key.material) for key in keys}

    @property
    def rotating(self) -> bool:
        """Whether there are other keys than the current one, so that something may be sealed under them."""
        return len(self._ciphers) > 1

    def seal(self, entity: str, component: str, version: int, name: str, value: str) -> bytes:
        """Ciphertext under the current key."""
        header = _FORMAT + self._current + secrets.token_bytes(_NONCE)
        place = _associated(header, entity, component, version, name)
        return header + self._ciphers[self._current].encrypt(header[-_NONCE:], value.encode(), place)

    def unseal(self, entity: str, component: str, version: int, name: str, sealed: bytes) -> str:
        """The secret; raises `Unreadable` when no key opens it, and says whether a key is missing."""
        header, body = sealed[:_HEADER], sealed[_HEADER:]
        what = f"secret {name!r} (version {version}) of {component} in {entity}"
        if len(header) < _HEADER or header[:1] != _FORMAT:
            raise Unreadable(f"{what} is not in a format that this version knows", mend="Restore it from a backup.")
        cipher = self._ciphers.get(header[1 : 1 + _KEY_ID])
        if cipher is None:
            raise Unreadable(f"{what} was sealed with key {header[1 : 1 + _KEY_ID].hex()}, not here", mend=_MEND)
        try:
            place = _associated(header, entity, component, version, name)
            return cipher.decrypt(header[-_NONCE:], body, place).decode()
        except InvalidTag:
            raise Unreadable(
                f"{what} does not open: it was changed or moved", mend="Rotate this credential, and audit the database."
            ) from None

    def mint(self) -> str:
        """A fresh random password: letters and digits, 142 bits."""
        return "".join(secrets.choice(_ALPHABET) for _ in range(_MINTED_LENGTH))

    @property
    def prefix(self) -> bytes:
        """How everything begins that the current key has sealed."""
        return _FORMAT + self._current

    def is_current(self, sealed: bytes) -> bool:
        """Whether the current key sealed it; if not, sealing its secret again lets an old key be retired."""
        return sealed.startswith(self.prefix)

    def check_value(self) -> bytes:
        """A sealed canary, to be kept in the store and verified on every start."""
        return self.seal(*CHECK_PLACE, _CHECK_VALUE)

    def verify_check(self, sealed: bytes) -> None:
        """Raise `Invalid` when these keys are not those of the store that kept the canary."""
        try:
            opened = self.unseal(*CHECK_PLACE, sealed)
        except Unreadable:
            opened = ""
        if opened != _CHECK_VALUE:
            raise Invalid(
                "the vault's key is not the one that this database's secrets were sealed with",
                field="TWIN_VAULT_KEY",
                mend=f"{_MEND} Without that key the stored credentials are lost and must be rotated.",
            )


def _associated(header: bytes, *place: str | int) -> bytes:
    parts = [str(part).encode() for part in place]
    return header + b"".join(len(part).to_bytes(4, "big") + part for part in parts)

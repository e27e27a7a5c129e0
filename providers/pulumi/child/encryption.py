"""Secrets of a stack's settings file, as Pulumi's passphrase provider writes them.

Done here since the CLI's own way to set many at once takes them by argv. The format is that of `sdk/go/common/resource/
config/crypt.go`: PBKDF2-SHA256 over a salt of eight bytes, then AES-256-GCM.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64encode

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_ROUNDS = 1_000_000


class Encryption:
    """The key of one stack. Its salt follows from passphrase and name, so that every worker writes the same."""

    def __init__(self, passphrase: str, stack: str) -> None:
        derived = hmac.digest(passphrase.encode(), f"twin:{stack}".encode(), "sha256")
        self._salt, self._nonce = derived[:8], derived[8:20]
        self._key = AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), self._salt, _ROUNDS, 32))

    @property
    def salt(self) -> str:
        """`encryptionsalt`: with it stands a known word, by which a wrong passphrase is noticed."""
        return f"v1:{_text(self._salt)}:{self._sealed(b'pulumi', self._nonce)}"

    def seal(self, value: str) -> str:
        """What stands under `secure`."""
        return self._sealed(value.encode(), os.urandom(12))

    def _sealed(self, value: bytes, nonce: bytes) -> str:
        return f"v1:{_text(nonce)}:{_text(self._key.encrypt(nonce, value, None))}"


def _text(data: bytes) -> str:
    return b64encode(data).decode()

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


def derived(passphrase: str, stack: str) -> bytes:
    """The key of one stack: a quarter of a second of work, so who runs many children does it once for all of them."""
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), _fixed(passphrase, stack)[:8], _ROUNDS, 32)


class Encryption:
    """What one stack's secrets are sealed with. Its salt follows from passphrase and name, so that every worker writes
    the same."""

    def __init__(self, passphrase: str, stack: str, key: bytes | None = None) -> None:
        fixed = _fixed(passphrase, stack)
        self._salt, self._nonce = fixed[:8], fixed[8:20]
        self._key = AESGCM(key or derived(passphrase, stack))

    @property
    def salt(self) -> str:
        """`encryptionsalt`: with it stands a known word, by which a wrong passphrase is noticed."""
        return f"v1:{_text(self._salt)}:{self._sealed(b'pulumi', self._nonce)}"

    def seal(self, value: str) -> str:
        """What stands under `secure`."""
        return self._sealed(value.encode(), os.urandom(12))

    def _sealed(self, value: bytes, nonce: bytes) -> str:
        return f"v1:{_text(nonce)}:{_text(self._key.encrypt(nonce, value, None))}"


def _fixed(passphrase: str, stack: str) -> bytes:
    return hmac.digest(passphrase.encode(), f"twin:{stack}".encode(), "sha256")


def _text(data: bytes) -> str:
    return b64encode(data).decode()

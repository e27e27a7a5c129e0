"""The vault's keys: from the environment, or from a file that only its owner may read.

Several keys may be given, first the current one; the others open what was sealed before a rotation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from pathlib import Path

from msgspec import Struct

from twin.domain.errors import Invalid

KEY_BYTES = 32
_MEND = "Give 32 bytes as base64 or as 64 hex digits, for example from: openssl rand -base64 32"


class Key(Struct, frozen=True):
    """One AES-256 key. `id` tells which key sealed something and reveals nothing of the key."""

    material: bytes

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"

    @property
    def id(self) -> bytes:
        """Four bytes of a hash of the key."""
        return hashlib.sha256(b"twin vault key id\0" + self.material).digest()[:4]


def parse_keys(text: str, field: str) -> tuple[Key, ...]:
    """Keys separated by commas or line ends, current one first; raises `Invalid` naming `field`, never the key."""
    keys = []
    for number, part in enumerate(filter(None, (each.strip() for each in text.replace("\n", ",").split(","))), 1):
        material = _decode(part)
        if material is None or len(material) != KEY_BYTES:
            raise Invalid(f"{field}: key {number} is not a 256-bit key", field=field, mend=_MEND)
        if len(set(material)) < KEY_BYTES // 4:
            raise Invalid(f"{field}: key {number} is not random", field=field, mend=_MEND)
        keys.append(Key(material))
    if not keys:
        raise Invalid(f"{field} holds no key", field=field, mend=_MEND)
    if len({key.id for key in keys}) < len(keys):
        raise Invalid(f"{field} holds the same key twice", field=field, mend="Give each key once.")
    return tuple(keys)


def load_keys(path: Path, given: str | None = None) -> tuple[Key, ...]:
    """The keys in `given` (TWIN_VAULT_KEY), or else those in the file, which is created with a fresh key if missing.

    Raises `Invalid` when others than the owner may read the file, or when its content is not keys.
    """
    if given:
        return parse_keys(given, "TWIN_VAULT_KEY")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return (create_key(path),)
    except OSError as error:
        raise Invalid(
            f"the vault's key file {path} cannot be read: {error.strerror}",
            field="TWIN_VAULT_KEY",
            mend=f"Make it a plain file of the user that runs twin: ls -l {path}",
        ) from None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise Invalid(
                f"the vault's key file {path} has mode {mode:04o}: others than its owner can read or change it",
                field="TWIN_VAULT_KEY",
                mend=f"chmod 600 {path}, and rotate the key if anybody else has access to this machine.",
            )
        return parse_keys(file.read(), str(path))


def create_key(path: Path) -> Key:
    """A fresh key in a new file of mode 0600; when another process was faster, its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Key(secrets.token_bytes(KEY_BYTES))
    # Written beside and linked into place: nobody ever sees a file without its key, and the first one wins.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(key.material) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return load_keys(path)[0]
    finally:
        beside.unlink()
    _sync_folder(path.parent)
    return key


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _decode(text: str) -> bytes | None:
    if len(text) == KEY_BYTES * 2:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    try:
        # Both alphabets of base64, with or without padding.
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None

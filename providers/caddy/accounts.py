"""Who may enter by a password: an account for each credential that lives, in Caddy's basic authentication.

Accounts of one route need different names, so each version of the password has its own. The route's note tells which
versions are ours, and since which one no older comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bcrypt
from msgspec import Struct

USER = "preview"
"""Whom basic authentication asks for; for the credentials after the first, with their number."""

HASHED = 72
"""Bytes of a password that bcrypt looks at, everywhere."""

COST = 8
"""Of bcrypt, as a power of two. The passwords are minted and long: it has no dictionary to hold up."""

Json = dict[str, Any]


class Accounts(Struct, frozen=True):
    """Hashes by the credential's version. None older than `since` is made valid any more."""

    hashes: dict[int, str]
    since: int = 0

    @property
    def newest(self) -> int:
        """The version whose user is given out; the first, where there is none."""
        return max(self.hashes, default=1)

    def with_live(self, live: Mapping[int, str], fresh: Mapping[int, str]) -> Accounts:
        """With these passwords valid too: under the hash that stands, if it is the password's, since a fresh one would
        be a change for nothing."""
        wanted = {version: word for version, word in live.items() if version >= self.since}
        kept = {v: found for v, word in wanted.items() if _matches(word, found := self.hashes.get(v, ""))}
        return Accounts({**self.hashes, **{version: fresh[version] for version in wanted}, **kept}, self.since)

    def without(self, version: int, staying: Mapping[int, str]) -> Accounts:
        """Without one, which is not to come back; `staying` are those that live."""
        return Accounts(
            {each: found for each, found in self.hashes.items() if each != version},
            max(self.since, min(staying, default=0)),
        )


NOBODY = Accounts({})


def user_of(version: int) -> str:
    """The name that goes with the password of this version."""
    return USER if version == 1 else f"{USER}-{version}"


def fresh_hashes(live: Mapping[int, str]) -> dict[int, str]:
    """A bcrypt hash of each, as Caddy takes it. It costs time."""
    return {
        version: bcrypt.hashpw(word.encode()[:HASHED], bcrypt.gensalt(COST)).decode() for version, word in live.items()
    }


def handler(accounts: Accounts, realm: str) -> Json:
    """Asks for one of them."""
    listed = [{"username": user_of(version), "password": found} for version, found in sorted(accounts.hashes.items())]
    basic = {"hash": {"algorithm": "bcrypt"}, "hash_cache": {}, "realm": realm, "accounts": listed}
    return {"handler": "authentication", "providers": {"http_basic": basic}}


def noted(accounts: Accounts) -> Json:
    """What the note tells of them."""
    return {"versions": sorted(accounts.hashes), "since": accounts.since}


def standing(note: Json, handlers: list[Json]) -> Accounts:
    """Those of ours that a route has; who was let in by hand is none."""
    told = note.get("accounts")
    told = told if isinstance(told, dict) else {}
    found = {str(each.get("username")): str(each.get("password")) for each in handlers for each in _listed(each)}
    versions, since = told.get("versions"), told.get("since")
    ours = [each for each in versions if isinstance(each, int)] if isinstance(versions, list) else []
    hashes = {version: found[user_of(version)] for version in ours if user_of(version) in found}
    return Accounts(hashes, since if isinstance(since, int) else 0)


def _listed(handler: Json) -> list[Json]:
    providers = handler.get("providers")
    basic = providers.get("http_basic") if isinstance(providers, dict) else None
    accounts = basic.get("accounts") if isinstance(basic, dict) else None
    return [each for each in accounts if isinstance(each, dict)] if isinstance(accounts, list) else []


def _matches(password: str, found: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:HASHED], found.encode())
    except ValueError:
        return False  # none yet, or not a hash: written by hand

"""Who asks, and what they may do. Tokens are kept as hashes; a token is shown once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import Forbidden, Invalid, Unauthenticated
from twin.domain.identity import Actor
from twin.domain.near import suggestion
from twin.domain.platform import PLATFORM_ID, Fact
from twin.ports.store import Store, StoredToken, Tx

ROLES = ("viewer", "developer", "operator", "auditor", "admin")
_RANK = {"viewer": 1, "developer": 2, "operator": 3, "admin": 4}


class Principal(Struct, frozen=True):
    """Who asks. `roles` are pairs (project or "*", role)."""

    name: str
    roles: tuple[tuple[str, str], ...]

    @property
    def actor(self) -> Actor:
        """As the history names them."""
        return Actor("token", self.name)

    def may(self, role: str, project: str) -> bool:
        """Whether they have this role, or a greater one, in the project. An auditor reads all and signals nothing."""
        mine = {given for place, given in self.roles if place in ("*", project)}
        if role in ("viewer", "auditor") and "auditor" in mine:
            return True
        if role == "auditor":
            return "admin" in mine
        return any(_RANK.get(given, 0) >= _RANK[role] for given in mine)

    def require(self, role: str, project: str) -> None:
        """Raise `Forbidden` unless `may`."""
        if not self.may(role, project):
            where = "the platform" if project == "*" else f"project {project!r}"
            raise Forbidden(
                f"{self.name} is not {role} of {where}", mend=f"Ask an admin for a token with the role {role}."
            )


class Request(Struct, frozen=True):
    """One request of a principal: stands in every event and log line that comes of it."""

    by: Principal
    id: str
    idempotency_key: str | None = None

    @property
    def cause(self) -> Cause:
        """For transitions."""
        return Cause(actor=self.by.actor, request_id=self.id)


class Tokens:
    """Makes and checks tokens."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def authenticate(self, token: str) -> Principal:
        """The principal of a token; raises `Unauthenticated`."""
        stored = await self._store.token(hash_of(token))
        if stored is None:
            raise Unauthenticated(
                "this token is unknown or expired",
                mend="Set TWIN_TOKEN, or use the token file of the twin's data folder.",
            )
        return Principal(stored.name, stored.roles)

    async def create(
        self,
        name: str,
        roles: Iterable[tuple[str, str]],
        request: Request,
        *,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> str:
        """A new token, shown only here. Needs admin."""
        request.by.require("admin", "*")
        pairs = tuple(roles)
        for _, role in pairs:
            if role not in ROLES:
                raise Invalid(f"role is {role!r}, which is no role", field="role", mend=suggestion(role, ROLES))
        token = fresh_token()
        stored = StoredToken(hash=hash_of(token), name=name, roles=pairs, created_at=now, expires_at=expires_at)
        fact = Fact(what="token_created", details={"name": name, "roles": [list(pair) for pair in pairs]})

        def keep(tx: Tx) -> None:
            tx.transition("platform", PLATFORM_ID, fact, request.cause)
            tx.put_token(stored)

        await self._store.transact(keep)
        return token


def fresh_token() -> str:
    """256 random bits with a prefix by which leak scanners can know it."""
    return "twin_" + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """What is stored. A fast hash is right for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()

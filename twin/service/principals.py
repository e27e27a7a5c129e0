"""Who asks, and what they may do. Tokens are kept as hashes; a token is shown once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from twin.domain.identity import TWIN, Actor
from twin.domain.members import ME
from twin.domain.near import near_misses, suggestion
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.ports.store import Store, StoredToken, Tx
from twin.service.views import TokenView

ROLES = ("viewer", "developer", "operator", "auditor", "admin")
_RANK = {"viewer": 1, "developer": 2, "operator": 3, "admin": 4}
_ADMIN = ("*", "admin")


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

    def require_some(self, role: str) -> None:
        """Raise `Forbidden` unless they have this role, or a greater one, in some project: for what is not of one."""
        if not any(self.may(role, project) for project, _ in self.roles):
            raise Forbidden(
                f"{self.name} is not {role} of any project", mend=f"Ask an admin for a token with the role {role}."
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
    """Makes, checks, lists and revokes tokens. A name is one token's: the history and Idempotency-Keys go by it."""

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
        """A new token, shown only here. Needs admin. Raises `Conflict` if the name is taken."""
        request.by.require("admin", "*")
        pairs = tuple(roles)
        if not pairs:
            raise Invalid("roles is empty", field="roles", mend='Give at least one, such as ["shop", "viewer"].')
        if name == TWIN.name:
            raise Conflict(f"{name!r} is the service itself", field="name", mend="Choose another name.")
        if name == ME:
            raise Conflict(
                f"{name!r} is whoever asks, and can be nobody's name: such a person could be no member",
                field="name",
                mend="Choose the person's own name, such as ada@example.com.",
            )
        for _, role in pairs:
            if role not in ROLES:
                raise Invalid(f"role is {role!r}, which is no role", field="role", mend=suggestion(role, ROLES))
        token = fresh_token()
        stored = StoredToken(hash=hash_of(token), name=name, roles=pairs, created_at=now, expires_at=expires_at)
        await self._store.transact(lambda tx: keep_token(tx, stored, request.cause))
        return token

    async def all(self, by: Principal) -> tuple[TokenView, ...]:
        """All tokens by name, also those that have expired, without what they are known by. Needs admin."""
        by.require("admin", "*")
        return tuple(
            TokenView(name=each.name, roles=each.roles, created_at=each.created_at, expires_at=each.expires_at)
            for each in await self._store.tokens()
        )

    async def revoke(self, name: str, request: Request) -> None:
        """End a token at once; its name is free again. Needs admin. Raises `NotFound`, and `Conflict` for the last
        token with which an admin could make another."""
        request.by.require("admin", "*")
        fact = Fact(what="token_revoked", details={"name": name})

        def drop(tx: Tx) -> None:
            # It locks the platform: two admins who revoke each other's tokens take turns.
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            tokens = {each.name: each for each in tx.tokens()}
            if name not in tokens:
                raise NotFound(f"there is no token {name!r}", field="name", near=near_misses(name, tokens))
            if not any(_is_admin(each, tx.now) for each in tokens.values() if each.name != name):
                raise Conflict(
                    f"{name} is the last admin's token",
                    field="name",
                    mend="Make another first: twin token create NAME --role '*=admin'",
                )
            tx.drop_token(name)

        await self._store.transact(drop)


def keep_token(tx: Tx, token: StoredToken, cause: Cause) -> None:
    """Keep a token's hash, and record that it was made. Raises `Conflict` if the name is taken."""
    fact = Fact(what="token_created", details={"name": token.name, "roles": [list(pair) for pair in token.roles]})
    tx.transition(PLATFORM.kind, PLATFORM_ID, fact, cause)
    tx.put_token(token)


def _is_admin(token: StoredToken, now: datetime) -> bool:
    return _ADMIN in token.roles and (token.expires_at is None or token.expires_at > now)


def fresh_token() -> str:
    """256 random bits with a prefix by which leak scanners can know it."""
    return "twin_" + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """What is stored. A fast hash is right for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()

"""Doors: what a route that asks the twin is told about whoever wants in.

A person gives their token to the twin alone, once. What their browser then shows at the route's own host is sealed by
the vault, good for that one door, and looked at anew with each request: with the token, the role or the membership it
ends. It opens nothing of the API.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from twin.domain.component_type import ComponentType
from twin.domain.decider import Cause
from twin.domain.environment import Environment
from twin.domain.errors import Forbidden, NotFound, Unauthenticated, Unreadable
from twin.domain.identity import COMPONENT_PATTERN, TWIN
from twin.domain.members import members, without_ended
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.twin import ENVIRONMENT
from twin.ports.clock import Clock
from twin.ports.store import IdempotentReply, Store, StoredToken, Tx
from twin.ports.vault import Vault
from twin.service.principals import Principal, hash_of

SESSION = timedelta(hours=8)
"""How long a browser is let in before it must show a token again."""

CODE = timedelta(seconds=60)
"""How long the way from the twin to the route's host may take."""

_ID = re.compile(r"env_[0-9A-Z]{26}")


class Door(Struct, frozen=True):
    """A route that asks; `url` is how people reach it, without a path."""

    environment: Environment
    component: str
    url: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.environment.project}/{self.environment.name}"


class _Pass(Struct, frozen=True, kw_only=True):
    """What is sealed: whose token it stands for, until when, and, of a code, for which browser."""

    token: str
    until: datetime
    browser: str = ""


class Doors:
    """What the edge calls."""

    def __init__(self, store: Store, vault: Vault, types: Mapping[str, ComponentType], clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._types = types
        self._clock = clock

    async def door(self, environment_id: str, component: str) -> Door:
        """The door of a component; raises `NotFound` if it has none, or none that stands."""
        known = _ID.fullmatch(environment_id) and re.fullmatch(COMPONENT_PATTERN, component)
        row = await self._store.entity(ENVIRONMENT.kind, environment_id) if known else None
        env: Environment | None = row.state if row is not None else None
        instance = env.current(component) if env is not None else None
        type_ = self._types.get(instance.type) if instance is not None else None
        if env is None or instance is None or type_ is None or not type_.asks_with(instance.inputs):
            raise NotFound(f"there is no door {component[:30]!r} there", field="component")
        url = instance.outputs.get("url")
        if env.certificate is not None or not isinstance(url, str):
            raise NotFound(f"the door {component!r} does not stand", field="component")
        return Door(env, component, url)

    async def by_session(self, door: Door, session: str) -> Principal | None:
        """Who enters by what `enter` gave; None if nobody does any more."""
        kept = self._opened(door, "session", session)
        stored = await self._store.token(kept.token) if kept is not None else None
        principal = _principal(stored)
        return principal if principal is not None and self.admits(door, principal) else None

    def admits(self, door: Door, principal: Principal) -> bool:
        """Whether they may enter: viewers of the project, and members of it or of the environment. A token stands for
        the person of its name."""
        env = door.environment
        living = without_ended(members(env), self._clock.now())
        return principal.may("viewer", env.project) or principal.name in living

    def check(self, door: Door, principal: Principal) -> None:
        """Raise `Forbidden` unless `admits`."""
        if not self.admits(door, principal):
            raise Forbidden(
                f"{principal.name} may not enter {door.name}",
                mend=f"Ask an operator of project {door.environment.project}: "
                f"twin member add {door.name} {principal.name}",
            )

    def code(self, door: Door, token: str, browser: str) -> str:
        """What carries a token's holder, who has been checked, to the route's host: once, soon, and in one browser,
        which is named by the digest of what it alone knows."""
        until = self._clock.now() + CODE
        return self._sealed(door, "code", _Pass(token=hash_of(token), until=until, browser=browser))

    async def enter(self, door: Door, code: str, nonce: str, request_id: str) -> str:
        """The session that a code stands for; it is recorded. Raises `Unauthenticated` for one that is used, old, of
        another door or of another browser."""
        kept = self._opened(door, "code", code)
        if kept is None or not hmac.compare_digest(kept.browser.encode(), browser_of(nonce).encode()):
            raise _closed()
        principal = _principal(await self._store.token(kept.token))
        if principal is None or not self.admits(door, principal):
            raise _closed()
        until = self._clock.now() + SESSION
        key = f"door:{hash_of(code)}"
        used = IdempotentReply(digest="", operation_id="", entity=door.environment.id, expires_at=kept.until)
        fact = Fact(
            what="route_entered",
            component=door.component,
            details={
                "environment": door.environment.id,
                "project": door.environment.project,
                "name": door.environment.name,
                "url": door.url,
                "until": until.isoformat(),
            },
        )

        def use(tx: Tx) -> None:
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, Cause(principal.actor, request_id))  # the lock: once
            if tx.idempotent(TWIN.name, key) is not None:
                raise _closed()
            tx.remember(TWIN.name, key, used)

        await self._store.transact(use)
        return self._sealed(door, "session", _Pass(token=kept.token, until=until))

    def _sealed(self, door: Door, what: str, given: _Pass) -> str:
        text = msgspec.json.encode(given).decode()
        return base64.urlsafe_b64encode(self._vault.seal(*_place(door, what), text)).decode().rstrip("=")

    def _opened(self, door: Door, what: str, shown: str) -> _Pass | None:
        try:
            sealed = base64.urlsafe_b64decode(shown + "=" * (-len(shown) % 4))
            kept = msgspec.json.decode(self._vault.unseal(*_place(door, what), sealed), type=_Pass)
        except (ValueError, Unreadable, msgspec.MsgspecError):
            return None
        return kept if kept.until > self._clock.now() else None


def fresh_nonce() -> str:
    """What one browser alone knows, so that nobody can have it finish a login that somebody else began."""
    return secrets.token_urlsafe(32)


def browser_of(nonce: str) -> str:
    """By which the browser that knows it is named where others see it."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def _place(door: Door, what: str) -> tuple[str, str, int, str]:
    """Where the vault binds it to: it opens for no other door, and not for this one at another address."""
    return door.environment.id, door.component, 1, f"{what} of {door.url}"


def _principal(stored: StoredToken | None) -> Principal | None:
    return Principal(stored.name, stored.roles) if stored is not None else None


def _closed() -> Unauthenticated:
    return Unauthenticated("this login is used, too old or another browser's", field="code", mend="Open the link anew.")

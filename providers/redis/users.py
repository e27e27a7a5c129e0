"""The users of one component: one of the app's for each live credential, and those of people.

Redis cannot tell by which of a user's passwords a connection came in. Each version of the credentials therefore has a
user of its own below the same prefix: ending one ends its connections, and no other's.

A hash per component notes every user: what it was asked to be, and how the server itself then wrote that down. It is
written in one transaction with the user, and a retired one stays in it, so that a late worker brings none back.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from providers.redis.client import Command, Session, UserState
from providers.redis.names import app_user, component_of, digest, version_of
from providers.redis.rules import Role, rules
from providers.redis.spec import KeyspaceInputs

NOTES = "twin:users:"
"""And the component's name: hash of user → `Noted`, as JSON."""


class Noted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the last `ensure` left, to compare with later: the server rewrites rules, so ours cannot be compared.

    `digest` is the password's SHA-256; `rules` are as the server has them; `role` is a person's. Of a retired user
    nothing else is kept.
    """

    inputs: KeyspaceInputs = KeyspaceInputs()
    digest: str = ""
    rules: str = ""
    role: Role | None = None
    retired: bool = False


class Users:
    """Each operation may be repeated."""

    def __init__(self, session: Session, component: str, mark: str) -> None:
        self._session = session
        self._component = component
        self._mark = mark
        self._notes = NOTES + component

    async def noted(self) -> dict[str, Noted]:
        """Every user that should be there, by name, with what it should be."""
        return {name: each for name, each in (await self._all_noted()).items() if not each.retired}

    async def states(self) -> dict[str, UserState]:
        """Every user that is there, of those noted and the first."""
        found = {}
        for name in sorted({self._component, *await self.noted()}):
            state = await self._session.user(name)
            if state is not None:
                found[name] = state
        return found

    async def people(self) -> set[str]:
        """Every user that is a person's, noted or there."""
        users = {*await self.noted(), *await self._names()}
        return {user for user in users if version_of(self._component, user) is None}

    async def ensure_app(self, version: int, password: str, inputs: KeyspaceInputs) -> bool:
        """The app can use the keyspace with this credential; False if it has been retired, and stays so."""
        return await self._ensure(
            app_user(self._component, version), Noted(inputs=inputs, digest=digest(password)), new=True
        )

    async def ensure_member(self, user: str, password: str, role: Role, inputs: KeyspaceInputs, *, on: bool) -> None:
        """A person can use the keyspace as their role says; who came in by another password is put out."""
        wanted = Noted(inputs=inputs, digest=digest(password), role=role)
        before = await self._noted(user)
        if before is not None and before.digest != wanted.digest:
            await self._session.ensure_off(user)
        await self._ensure(user, wanted, new=True, on=on)

    async def ensure_members_follow(self, inputs: KeyspaceInputs) -> None:
        """People that have access may do what `inputs` say by now. Nobody is let in who was not: that is for a grant,
        which knows who is a member by now."""
        for user, noted in (await self.noted()).items():
            if noted.role is not None:
                state = await self._session.user(user)
                on = state is not None and state.on
                await self._ensure(user, msgspec.structs.replace(noted, inputs=inputs), new=False, on=on)

    async def ensure_retired(self, version: int) -> None:
        """Nobody can log in with that version of the credentials, is connected by it, or ever will be."""
        user = app_user(self._component, version)
        await self._session.ensure_off(user)

        async def note() -> list[Command]:
            known = await self._session.command("EXISTS", self._notes)  # else there is no component any more
            return [("HSET", self._notes, user, msgspec.json.encode(Noted(retired=True)))] if known else []

        await self._session.transact(self._notes, note)
        await self._session.drop_user(user)

    async def ensure_retired_are_gone(self) -> None:
        """What a retirement that was cut short left."""
        for user, noted in (await self._all_noted()).items():
            if noted.retired:
                await self._session.drop_user(user)

    async def ensure_off(self) -> None:
        """None of the users may log in or has a connection."""
        for user in await self._names():
            await self._session.ensure_off(user)

    async def drop(self, user: str) -> None:
        """The user is gone and was never there."""
        await self._session.ensure_off(user)
        await self._session.command("HDEL", self._notes, user)
        await self._session.drop_user(user)

    async def drop_all(self) -> None:
        """All users are gone; the notes stay."""
        for user in await self._names():
            await self._session.drop_user(user)

    async def is_suspended(self) -> bool:
        """Whether the app's users are turned off."""
        apps = [state for name, state in (await self.states()).items() if version_of(self._component, name)]
        return bool(apps) and not any(state.on for state in apps)

    # --- how ---

    async def _ensure(self, user: str, wanted: Noted, *, new: bool, on: bool = True) -> bool:
        """Note and user, at once; then how the server wrote it down. Unless `new`, only if it is noted still."""
        granted = rules(
            self._component,
            digest=wanted.digest,
            inputs=wanted.inputs,
            version=await self._session.major_version(),
            categories=await self._session.categories(),
            role=wanted.role,
            on=on,
        )

        def note(noted: Noted, rules: str) -> Command:
            return ("HSET", self._notes, user, msgspec.json.encode(msgspec.structs.replace(noted, rules=rules)))

        async def make() -> list[Command]:
            before = await self._noted(user)
            if before.retired if before else not new:
                return []
            return [
                note(wanted, before.rules if before else ""),
                ("ACL", "SETUSER", user, *granted),
            ]

        async def compare() -> list[Command]:
            noted, state = await self._noted(user), await self._session.user(user)
            if noted is None or noted.retired or state is None or noted.rules == state.rules:
                return []
            return [note(noted, state.rules)]

        await self._session.ensure_marked(self._component, self._mark)
        if await self._session.transact(self._notes, make) is None:
            return False
        await self._session.transact(self._notes, compare)
        return True

    async def _names(self) -> list[str]:
        """Of all users, also of those that nothing is noted of."""
        return sorted(name for name in await self._session.users() if component_of(name) == self._component)

    async def _noted(self, user: str) -> Noted | None:
        return _read(await self._session.command("HGET", self._notes, user))

    async def _all_noted(self) -> dict[str, Noted]:
        reply = await self._session.command("HGETALL", self._notes)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        read = {user.decode(): _read(noted) for user, noted in pairs}
        return {user: noted for user, noted in read.items() if noted is not None}


def _read(noted: bytes | None) -> Noted | None:
    try:
        return msgspec.json.decode(noted, type=Noted) if noted else None
    except msgspec.DecodeError:
        return None  # written by another version, or by hand: as good as none

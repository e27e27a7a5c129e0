"""Redis: what happens in the world, in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from providers.redis import removal
from providers.redis.client import Server, Session
from providers.redis.copying import COPYING, Copy
from providers.redis.drift import users_drift
from providers.redis.names import app_user, component_of, member_user, version_of
from providers.redis.spec import PROVIDER, TYPES, Credentials, KeyspaceInputs, TargetConfig
from providers.redis.users import NOTES, Users
from twin.domain.errors import Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark, physical_name
from twin.domain.targets import Target
from twin.ports.provider import Applied, Member, Observed, Resource, Seeded, Source, StepContext

S = TypeVar("S", bound=msgspec.Struct)


class RedisProvider:
    """One server. Opens a connection per call and keeps none."""

    def __init__(self, target: Target, config: TargetConfig, credentials: Credentials) -> None:
        self._target = target
        self._config = config
        self.server = Server(target.name, config, credentials.password)

    async def identify(self) -> Placement:
        """Host and port, and the identity that the server keeps with its data."""
        async with self.server.session() as server:
            identity = await server.identity()
        return Placement(
            target=self._target.name, endpoint=_endpoint(self._config.host, self._config.port), identity=identity
        )

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """A user for each live credential, then people's as before; from suspended too. People are let in by `grant`
        alone."""
        inputs = _inputs(step.inputs)
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            stand = [await users.ensure_app(each, its["password"], inputs) for each, its in step.live.items()]
            if not any(stand):
                raise _retired(ref, step)
            await users.ensure_members_follow(inputs)
            await users.ensure_retired_are_gone()
            await self._save(server, step)
        return self._applied(ref, step)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """A user for the newest credential; the others are not touched."""
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            if not await users.ensure_app(step.version, step.secrets["password"], _inputs(step.inputs)):
                raise _retired(ref, step)
            await self._save(server, step)
        return self._applied(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """The old one's user, with its connections, once those that stay stand; then try it."""
        inputs = _inputs(step.inputs)
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            standing = await users.states()
            for each, its in step.live.items():
                if each != version and app_user(ref.name, each) not in standing:
                    await users.ensure_app(each, its["password"], inputs)
            await users.ensure_retired(version)
            await self._save(server, step)
        if not await self.server.refuses(app_user(ref.name, version), secrets["password"]):
            raise Transient(f"{self._target.name} still lets credential {version} of {ref.name} in")

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """End the users of who is not named, then a user for each who is; off if the component is suspended."""
        inputs = _inputs(step.inputs)
        named = {member_user(ref.name, member.name): member for member in members}
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            on = not await users.is_suspended()
            for user in sorted(await users.people() - named.keys()):
                await users.drop(user)
            for user, member in named.items():
                await users.ensure_member(user, member.secrets["password"], member.role, inputs, on=on)
            await self._save(server, step)
        return {
            member.name: {"url": self._url(user, member.secrets["password"]), "password": member.secrets["password"]}
            for user, member in named.items()
        }

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """The source's keys below the component's prefix, for whom there is no user yet."""
        if source.mode != "full" or not isinstance(source.provider, RedisProvider):
            raise Terminal(f"redis.keyspace cannot be a copy ({source.mode}) of {source.ref.type}", mend="data: full")
        copy = Copy(
            source=source.provider.server,
            origin=source.ref.name,
            to=self.server,
            component=ref.name,
            mark=ref.mark,
            heartbeat=step.heartbeat,
        )
        return await copy.run()

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """The users, compared with `inputs` and with what the server made of them."""
        wanted = _inputs(inputs)
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            noted, states = await users.noted(), await users.states()
            mark = await server.marked(ref.name)
        if not states and not noted and mark is None:
            return None
        drift = users_drift(ref.name, states, noted, wanted)
        if mark != ref.mark:
            drift["mark"] = f"the mark is {mark!r} instead of {ref.mark!r}"
        newest = max((version_of(ref.name, user) or 0 for user in noted), default=0)
        return Observed(external_id=ref.name, outputs=self._outputs(ref, newest or 1), drift=drift)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Turn the users off and end their connections; the keys stay."""
        async with self.server.session() as server:
            await Users(server, ref.name, ref.mark).ensure_off()
            await server.ensure_saved()

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Turn the users off, so that nothing new is written; then the keys, the users and what tells of them."""
        async with self.server.session() as server:
            users = Users(server, ref.name, ref.mark)
            await server.command("DEL", COPYING + ref.name)  # whoever still copies is stopped by that
            await users.ensure_off()
            await server.drop_keys(f"{ref.name}:", step.heartbeat)
            await users.drop_all()
            await server.ensure_saved()
            await server.drop_marked(ref.name, NOTES + ref.name)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Users by mark or prefix, and keys by prefix that have no user any more. Reads the names of all keys of the
        server, so it is for an environment's end."""
        mark = ownership_mark(environment)
        prefix = physical_name(environment, "", 0).removesuffix("_0")
        async with self.server.session() as server:
            marked = {name for name, its in (await server.marks()).items() if its == mark or name.startswith(prefix)}
            users = await server.users()
            databases = await server.databases()
        ours = {name for name in users if component_of(name) in marked or name.startswith(prefix)}
        known = {component_of(name) for name in ours}
        keys: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for database in databases:
            async with self.server.session(database) as server:
                async for batch in server.keys(prefix):
                    for key in batch:
                        keys[key.partition(b":")[0].decode(errors="replace")][database] += 1
        for name in sorted(ours):
            detail = mark if component_of(name) in marked else "by its name"
            way = removal.of_user(self._config, name, keys.get(component_of(name), ()))
            yield Resource(kind="redis.user", external_id=name, detail=detail, removal=way)
        for name in sorted(marked - known):
            way = removal.of_mark(self._config, name, keys.get(name, ()))
            detail = "marked as ours, without a user"
            yield Resource(kind="redis.mark", external_id=name, detail=detail, removal=way)
        for name, counts in sorted(keys.items()):
            if name in known:
                continue  # a user's keys are part of its keyspace
            way = removal.of_keys(self._config, name, counts)
            detail = f"{counts.total()} keys"
            yield Resource(kind="redis.keys", external_id=f"{name}:*", detail=detail, removal=way)

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its call."""

    async def _save(self, server: Session, step: StepContext) -> None:
        if not await server.ensure_saved():
            step.log.warning(
                "redis_users_not_saved", target=self._target.name, mend="set `aclfile` in the server's redis.conf"
            )

    def _applied(self, ref: ComponentRef, step: StepContext) -> Applied:
        """With the newest credential."""
        password = step.secrets["password"]
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(ref, step.version),
            secrets={"url": self._url(app_user(ref.name, step.version), password), "password": password},
        )

    def _outputs(self, ref: ComponentRef, version: int) -> dict[str, Any]:
        return {
            "host": self._config.host,
            "port": self._config.port,
            "prefix": f"{ref.name}:",
            "user": app_user(ref.name, version),
        }

    def _url(self, user: str, password: str) -> str:
        scheme = "rediss" if self._config.tls else "redis"
        return f"{scheme}://{user}:{quote(password, safe='')}@{_endpoint(self._config.host, self._config.port)}/0"


class RedisKind:
    """The provider before it has a target."""

    name = PROVIDER
    types = TYPES

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field. No I/O."""
        _read(TargetConfig, target.config, "config")
        _read(Credentials, credentials, "credentials")

    def open(self, target: Target, credentials: Mapping[str, str]) -> RedisProvider:
        """A provider for this target."""
        return RedisProvider(
            target, _read(TargetConfig, target.config, "config"), _read(Credentials, credentials, "credentials")
        )


def _retired(ref: ComponentRef, step: StepContext) -> Terminal:
    return Terminal(
        f"credential {step.version} of {ref.name} has been retired and is not made valid again",
        mend="rotate the component's credentials",
    )


def _inputs(inputs: Mapping[str, Any]) -> KeyspaceInputs:
    try:
        return msgspec.convert(dict(inputs), KeyspaceInputs)
    except msgspec.ValidationError as error:
        message, field = _located(error)
        raise Terminal(f"redis.keyspace: {message}", field=field) from None


def _read(struct: type[S], values: Mapping[str, Any], where: str) -> S:
    try:
        return msgspec.convert(dict(values), struct)
    except msgspec.ValidationError as error:
        message, field = _located(error)
        raise Invalid(f"redis {where}: {message}", field=f"{where}.{field}" if field else where) from None


def _located(error: msgspec.ValidationError) -> tuple[str, str | None]:
    """msgspec's message, which never holds the value, and the field that it is about."""
    message, _, path = str(error).partition(" - at `$.")
    if path:
        return message, path.removesuffix("`")
    quoted = message.split("`")
    return message, quoted[1] if "field" in message and len(quoted) > 1 else None


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

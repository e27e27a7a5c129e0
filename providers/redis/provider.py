"""Redis: what happens in the world, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from providers.redis.client import Noted, Server, UserState
from providers.redis.spec import PROVIDER, TYPES, Credentials, KeyspaceInputs, TargetConfig
from twin.domain.errors import Invalid, Terminal
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark, physical_name
from twin.domain.targets import Target
from twin.ports.provider import Applied, Observed, Resource, StepContext

S = TypeVar("S", bound=msgspec.Struct)


class RedisProvider:
    """One server. Opens a connection per call and keeps none."""

    def __init__(self, target: Target, config: TargetConfig, credentials: Credentials) -> None:
        self._target = target
        self._config = config
        self._server = Server(target.name, config, credentials.password)

    async def identify(self) -> Placement:
        """Host and port, and the identity that the server keeps with its data."""
        async with self._server.session() as server:
            identity = await server.identity()
        return Placement(
            target=self._target.name, endpoint=_endpoint(self._config.host, self._config.port), identity=identity
        )

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Mark, then user; from suspended too."""
        inputs = _inputs(step.inputs)
        password = step.secrets["password"]
        async with self._server.session() as server:
            await server.ensure_marked(ref.name, ref.mark)
            await server.ensure_user(ref.name, password=password, inputs=inputs)
            if not await server.ensure_saved():
                step.log.warning(
                    "redis_users_not_saved", target=self._target.name, mend="set `aclfile` in the server's redis.conf"
                )
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(ref),
            secrets={"url": self._url(ref, password), "password": password},
        )

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """The user, compared with `inputs` and with what the server made of them."""
        wanted = _inputs(inputs)
        async with self._server.session() as server:
            user = await server.user(ref.name)
            noted = await server.noted(ref.name)
            mark = await server.marked(ref.name)
        if user is None and mark is None:
            return None
        drift = _user_drift(ref, user, noted, wanted)
        if mark != ref.mark:
            drift["mark"] = f"the mark is {mark!r} instead of {ref.mark!r}"
        return Observed(external_id=ref.name, outputs=self._outputs(ref), drift=drift)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Turn the user off and end its connections; its keys stay."""
        async with self._server.session() as server:
            await server.ensure_off(ref.name)
            await server.ensure_saved()

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Turn the user off, so that nothing new is written; then its keys, the user and the mark."""
        async with self._server.session() as server:
            await server.ensure_off(ref.name)
            await server.drop_keys(f"{ref.name}:", step.heartbeat)
            await server.drop_user(ref.name)
            await server.ensure_saved()
            await server.drop_marked(ref.name)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Users by mark or prefix, and keys by prefix that have no user any more. Reads the names of all keys of the
        server, so it is for an environment's end."""
        mark = ownership_mark(environment)
        prefix = physical_name(environment, "", 0).removesuffix("_0")
        async with self._server.session() as server:
            marked = {name for name, its in (await server.marks()).items() if its == mark or name.startswith(prefix)}
            users = await server.users()
            databases = await server.databases()
        ours = {name for name in users if name in marked or name.startswith(prefix)}
        for name in sorted(ours):
            yield Resource(kind="redis.user", external_id=name, detail=mark if name in marked else "by its name")
        for name in sorted(marked - ours):
            yield Resource(kind="redis.mark", external_id=name, detail="marked as ours, without a user")
        keys: Counter[str] = Counter()
        for database in databases:
            async with self._server.session(database) as server:
                async for batch in server.keys(prefix):
                    keys.update(key.partition(b":")[0].decode(errors="replace") for key in batch)
        for name, count in sorted(keys.items()):
            if name in ours:
                continue  # a user's keys are part of its keyspace
            yield Resource(kind="redis.keys", external_id=f"{name}:*", detail=f"{count} keys")

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its call."""

    def _outputs(self, ref: ComponentRef) -> dict[str, Any]:
        return {"host": self._config.host, "port": self._config.port, "prefix": f"{ref.name}:", "user": ref.name}

    def _url(self, ref: ComponentRef, password: str) -> str:
        scheme = "rediss" if self._config.tls else "redis"
        return f"{scheme}://{ref.name}:{quote(password, safe='')}@{_endpoint(self._config.host, self._config.port)}/0"


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


def _user_drift(
    ref: ComponentRef, user: UserState | None, noted: Noted | None, wanted: KeyspaceInputs
) -> dict[str, str]:
    if user is None:
        return {"user": f'user "{ref.name}" does not exist'}
    drift = {}
    if not user.on:
        drift["suspended"] = f'user "{ref.name}" is turned off'
    if user.passwords != 1:
        has = "no password at all" if user.passwords < 0 else f"{user.passwords} passwords"
        drift["password"] = f'user "{ref.name}" has {has} instead of one'
    if noted is None or user.rules != noted.rules:
        drift["rules"] = f'what user "{ref.name}" may do is not as the twin left it'
    if noted is not None:
        for field in KeyspaceInputs.__struct_fields__:
            has_value, want = getattr(noted.inputs, field), getattr(wanted, field)
            if has_value != want:
                drift[field] = f"{field} is {has_value} instead of {want}"
    return drift


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

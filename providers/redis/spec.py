"""What a Redis target is configured with, and what a `redis.keyspace` takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from twin.domain.component_type import ComponentType, inputs_schema

PROVIDER = "redis"


class TargetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is (6.2 or later, not a cluster), and the user that works on it."""

    host: Annotated[str, Meta(min_length=1, title="Host", description="Name or address, as the apps reach it too.")]
    port: Annotated[int, Meta(ge=1, le=65535, title="Port")] = 6379
    user: Annotated[
        str, Meta(min_length=1, title="User", description="The user that manages users and their keys.")
    ] = "default"
    tls: Annotated[bool, Meta(title="TLS", description="Whether the twin and the apps connect with TLS.")] = False


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of `TargetConfig.user`."""

    password: Annotated[str, Meta(min_length=1)]


class KeyspaceInputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user that may use the keys and channels below its own prefix. Only what the server enforces is an input: Redis
    has no quota of memory or connections per user."""

    access: Annotated[
        Literal["read-write", "read-only"],
        Meta(title="Access", description="read-only freezes the keys: the user may read them and write none."),
    ] = "read-write"
    scripts: Annotated[
        bool,
        Meta(
            title="Scripts",
            description="Whether Lua may run. A long script stops the whole server for everybody on it.",
        ),
    ] = True


KEYSPACE = ComponentType(
    name="redis.keyspace",
    provider=PROVIDER,
    schema=inputs_schema(KeyspaceInputs),
    secrets=("url", "password"),
    outputs=("host", "port", "prefix", "user"),
    minted=("password",),
    stateful=True,
    suspends=True,
    rotates=True,
    grants=True,
    copies=frozenset({"full"}),
    deadline=300.0,
    settle=5.0,
)

TYPES = (KEYSPACE,)

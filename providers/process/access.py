"""Which of a target's credentials a repository is fetched with: one for its server, and for none beside it.

The name of a credential says where it goes: `git.example.com` (by https), `git.example.com:8443`, or an origin with a
path, `https://git.example.com/acme`. Its value is `USER:PASSWORD`, or a token alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from urllib.parse import unquote

from msgspec import Struct

from twin.domain.errors import Invalid

# Narrower than what git's own library takes: what is read in one way here must not be read in another way there.
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?:(?P<login>[^/?#\[\]\s\\]*)@)?(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^\s\\?#]*)?"
)
_PORTS = {"http": 80, "https": 443}
ANYBODY = "x-access-token"
"""The user that a token is given as: GitHub names it so, and Gitea, Forgejo and GitLab do not mind."""


class Address(Struct, frozen=True):
    """Where a repository is. `path` has its segments; None if they could be read in several ways (`..`, `%2f`)."""

    scheme: str
    host: str
    port: int
    path: tuple[str, ...] | None
    login: str | None = None

    @property
    def origin(self) -> str:
        """As git's configuration names it."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    def __repr__(self) -> str:
        return f"Address({self.origin})"


class Credential(Struct, frozen=True):
    """A user and a password, and where they may be sent: to this origin, for what is below the path."""

    name: str
    place: Address
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credential({self.name})"

    def fits(self, address: Address) -> bool:
        """Whether it is for what is there."""
        mine, path = self.place.path or (), address.path
        return address.origin == self.place.origin and path is not None and path[: len(mine)] == mine


def address_of(url: str) -> Address | None:
    """None if it is no plain address by http or https."""
    found = _ADDRESS.fullmatch(url)
    if found is None or not _is_host(found["host"]):
        return None
    scheme = found["scheme"]
    port = int(found["port"]) if found["port"] else _PORTS[scheme]
    if port > 65535:
        return None
    return Address(
        scheme=scheme,
        host=found["host"].lower(),
        port=port,
        path=_segments(found["path"] or ""),
        login=found["login"],
    )


def _is_host(text: str) -> bool:
    if not text.startswith("["):
        return True
    try:
        IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def _segments(path: str) -> tuple[str, ...] | None:
    segments = [unquote(each) for each in path.strip("/").split("/")] if path.strip("/") else []
    plain = all(each not in ("", ".", "..") and not set(each) & {"/", "\\", "%"} for each in segments)
    return tuple(segments) if plain else None


def credentials(given: Mapping[str, str]) -> tuple[Credential, ...]:
    """A target's credentials. Raises `Invalid` naming the one that is wrong, and never what it says."""
    return tuple(_credential(name, value) for name, value in given.items())


def _credential(name: str, value: str) -> Credential:
    place = address_of(name if "://" in name else f"https://{name}")
    field = f"credentials.{name}"
    if place is None or place.path is None or place.login is not None:
        raise Invalid(
            f"{name!r} is no place that a repository is fetched from",
            field=field,
            mend="Name a server, or an origin with a path: git.example.com, or https://git.example.com/acme.",
        )
    user, colon, password = value.strip().partition(":")
    if not colon:
        user, password = ANYBODY, user
    if not user or not password or not (user + password).isprintable():
        raise Invalid(
            f"The credential for {name} holds no password", field=field, mend="Give USER:PASSWORD, or a token alone."
        )
    return Credential(name, place, user, password)


def fitting(known: tuple[Credential, ...], address: Address) -> Credential | None:
    """The one for what is there; the one with the longest path, if several are."""
    fits = [each for each in known if each.fits(address)]
    return max(fits, key=lambda each: len(each.place.path or ()), default=None)

"""What a GitHub is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta, Struct

from twin.domain.errors import Invalid
from twin.forges.configured import Token, Url, read

PROVIDER = "github"
PUBLIC = "https://github.com"


class App(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GitHub App, as it is installed for one owner of repositories."""

    app_id: Annotated[int, Meta(ge=1)]
    installation_id: Annotated[int, Meta(ge=1)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is, and as whom the twin comes: as an app, or else as the user of a token."""

    url: Annotated[Url, Meta(description="Its address, as people and git use it.")] = PUBLIC
    api_url: Annotated[
        Url | None, Meta(description="Its API, unless it is api.github.com or a server's `<url>/api/v3`.")
    ] = None
    app: App | None = None
    timeout: Annotated[float, Meta(gt=0, le=120, extra_json_schema={"x-unit": "seconds"})] = 20.0

    @property
    def web(self) -> str:
        """Its address without a slash at the end."""
        return self.url.rstrip("/")

    @property
    def api(self) -> str:
        """Its API's address without a slash at the end."""
        usual = "https://api.github.com" if self.web == PUBLIC else f"{self.web}/api/v3"
        return (self.api_url or usual).rstrip("/")


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept in the vault: the token, or the app's private key; and what webhooks are signed with."""

    token: Token | None = None
    private_key: Annotated[str, Meta(min_length=1, max_length=20_000)] | None = None
    webhook_secret: Annotated[str, Meta(min_length=16)] | None = None


def configured(config: Mapping[str, Any], credentials: Mapping[str, str]) -> tuple[Config, Credentials]:
    """Both, checked against each other. Raises `Invalid`, naming the field."""
    settings, given = read(Config, config, "config"), read(Credentials, credentials, "credentials")
    wanted, other = ("private_key", "token") if settings.app else ("token", "private_key")
    way = "with config.app" if settings.app else "without config.app"
    if getattr(given, wanted) is None:
        field = f"credentials.{wanted}"
        raise Invalid(f"{field} is needed {way}", field=field, mend=f"Give {field}.")
    if getattr(given, other) is not None:
        field = f"credentials.{other}"
        raise Invalid(f"{field} is not used {way}", field=field, mend=f"Leave {field} out, or change config.app.")
    if given.private_key is not None and not _is_key(given.private_key):
        field = "credentials.private_key"
        raise Invalid(f"{field} is no RSA key in PEM without a password", field=field, mend="Give the app's key file.")
    return settings, given


def _is_key(text: str) -> bool:
    try:
        return isinstance(load_pem_private_key(text.encode(), password=None), RSAPrivateKey)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False

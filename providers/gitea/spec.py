"""What a Gitea or Forgejo is configured with."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from twin.forges.configured import Token, Url

PROVIDER = "gitea"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is."""

    url: Annotated[Url, Meta(description="Its address, as people and git use it.")]
    api_url: Annotated[Url | None, Meta(description="Its API, unless it is `<url>/api/v1`.")] = None
    timeout: Annotated[float, Meta(gt=0, le=120, extra_json_schema={"x-unit": "seconds"})] = 20.0

    @property
    def web(self) -> str:
        """Its address without a slash at the end."""
        return self.url.rstrip("/")

    @property
    def api(self) -> str:
        """Its API's address without a slash at the end."""
        return (self.api_url or f"{self.web}/api/v1").rstrip("/")


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept in the vault: the access token of a user, and what webhooks are signed with."""

    token: Token
    webhook_secret: Annotated[str, Meta(min_length=16)] | None = None

"""An installation of a GitHub App, as githubkit signs its calls, but for any address."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import httpx
from githubkit import AppInstallationAuthStrategy, GitHubCore
from githubkit.auth.app import AppAuth


class _Signing(AppAuth):
    def _get_api_route(self, url: httpx.URL) -> httpx.URL:
        """githubkit takes the path with its escapes undone, and fails if that holds a question mark."""
        base = self.github.config.base_url.raw_path.decode().rstrip("/")
        path = url.raw_path.decode().partition("?")[0]
        return httpx.URL(path.removeprefix(base))


class Installation(AppInstallationAuthStrategy):
    """Calls for the app itself carry its JWT, all others the installation's token, asked for when there is none."""

    def get_auth_flow(self, github: GitHubCore[Any]) -> httpx.Auth:
        """See githubkit."""
        made = super().get_auth_flow(github)
        assert isinstance(made, AppAuth)
        return _Signing(**{each.name: getattr(made, each.name) for each in fields(made)})

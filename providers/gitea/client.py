"""Gitea's API, call by call, as far as previews use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx

from providers.gitea import errors
from providers.gitea.answers import User
from providers.gitea.spec import Config, Credentials
from twin.domain.errors import Transient
from twin.forges import failures
from twin.forges.decoding import decoded
from twin.forges.listing import Page
from twin.forges.names import parts
from twin.forges.outgoing import Outgoing
from twin.forges.pausing import Pause

T = TypeVar("T")

PER_PAGE = 50
"""What Gitea gives at most unless its MAX_RESPONSE_ITEMS is raised. It may be lowered: pages are not judged by this."""


class Client:
    """One user's access to one Gitea."""

    def __init__(self, name: str, config: Config, credentials: Credentials) -> None:
        self.name = name
        self._api = config.api
        self._transport = Outgoing(name, config.api, seconds=config.timeout)
        self._pause = Pause(name)
        self._http = httpx.AsyncClient(
            transport=self._transport,
            headers={"Authorization": f"token {credentials.token}", "Accept": "application/json", "User-Agent": "twin"},
            timeout=None,  # the transport bounds all of a call  # noqa: S113
            trust_env=False,
        )
        self._me: User | None = None

    async def call(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response | None:
        """An answer below the repository; None if it is 404, which says nothing of what is missing."""
        owner, name = parts(repository)
        return await self._call(method, f"/repos/{owner}/{name}{path}", repository, query=query, body=body)

    async def _call(self, method: str, path: str, repository: str, **given: Any) -> httpx.Response | None:
        self._pause.check()
        body, query = given.get("body"), given.get("query")
        response = await self._http.request(method, f"{self._api}{path}", params=query, json=body)
        if response.status_code == 404:
            return None
        if not response.is_success:
            raise self._pause.heed(errors.failure(self.name, repository, response))
        return response

    async def get(
        self, type_: type[T], repository: str, path: str, *, query: Mapping[str, str | int] | None = None
    ) -> T | None:
        """What stands there; None if it is 404."""
        response = await self.call("GET", repository, path, query=query)
        return None if response is None else self.decoded(response, type_)

    async def page(
        self, item: type[T], repository: str, path: str, number: int, *, query: Mapping[str, str | int] | None = None
    ) -> Page[T] | None:
        """One page of a listing; None if it is 404. Gitea counts all entries in a header."""
        query = {**(query or {}), "page": number, "limit": PER_PAGE}
        response = await self.call("GET", repository, path, query=query)
        if response is None:
            return None
        total = response.headers.get("x-total-count", "")
        if not total.isdecimal():
            raise failures.not_understood(self.name, "it does not count its entries")
        items = self.decoded(response, list[item])  # type: ignore[valid-type]
        return Page(items=tuple(items), total=int(total))

    def decoded(self, response: httpx.Response, type_: type[T]) -> T:
        """See `twin.forges.decoding`."""
        return decoded(self.name, response, type_)

    async def ensure_visible(self, repository: str) -> None:
        """Raise `Blocked` unless the repository is there for us: only then 404 below it means that a thing is not
        there."""
        if await self.call("GET", repository, "") is None:
            raise failures.hidden(self.name, repository)

    async def gone(self, repository: str, what: str) -> Transient:
        """What to raise when a thing that the call needs is not there. Raises `Blocked` if it is the repository."""
        await self.ensure_visible(repository)
        return Transient(f"{self.name} has no {what} in {repository} now")

    async def me(self) -> User:
        """Whose token it is; asked once."""
        if self._me is None:
            response = await self._call("GET", "/user", "its own account")
            if response is None:
                raise failures.not_understood(self.name, "no user has this token")
            self._me = self.decoded(response, User)
        return self._me

    async def close(self) -> None:
        """Give back connections."""
        await self._http.aclose()
        await self._transport.finish()

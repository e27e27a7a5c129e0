"""GitHub's API by githubkit: who we are, calls, pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
from githubkit import GitHub, Response, TokenAuthStrategy
from githubkit.cache import MemCacheStrategy
from githubkit.exception import RequestFailed

from providers.github import errors
from providers.github.answers import AppItself, User
from providers.github.app import Installation
from providers.github.spec import Config, Credentials
from twin.domain.errors import Blocked, Transient
from twin.forges import failures
from twin.forges.decoding import decoded
from twin.forges.listing import Contradiction, Page
from twin.forges.names import parts
from twin.forges.outgoing import Outgoing
from twin.forges.pausing import Pause

T = TypeVar("T")
Method = Callable[..., Awaitable[Response[Any, Any]]]

PER_PAGE = 100
ITSELF = "its own account"


class Client:
    """One credential's access to one GitHub."""

    def __init__(self, name: str, config: Config, credentials: Credentials) -> None:
        self.name = name
        self._config = config
        self._credentials = credentials
        self._transport = Outgoing(name, config.api, seconds=config.timeout)
        self._pause = Pause(name)
        self._github = self._open()
        self._me: str | None = None

    def _open(self) -> GitHub[Any]:
        """githubkit with nothing of its own that we have elsewhere: no retries (steps are retried), no cache of
        answers, no redirects. Its default cache of tokens is one for the whole process, which two GitHubs would mix."""
        return GitHub(
            self._auth(),
            base_url=self._config.api,
            user_agent="twin",
            follow_redirects=False,
            timeout=httpx.Timeout(None),  # the transport bounds all of a call
            trust_env=False,
            async_transport=self._transport,
            cache_strategy=MemCacheStrategy(),
            http_cache=False,
            auto_retry=False,
        )

    def _auth(self) -> Any:
        app = self._config.app
        if app is None:
            return TokenAuthStrategy(self._credentials.token or "")
        return Installation(app.app_id, self._credentials.private_key or "", app.installation_id)

    @property
    def rest(self) -> Any:
        """githubkit's calls, to be made through `call`."""
        return self._github.rest

    async def call(
        self, repository: str, method: Callable[[Any], Method], *given: Any, **more: Any
    ) -> httpx.Response | None:
        """The answer of one of githubkit's calls, `lambda rest: rest.pulls.async_get`, below the repository; None if it
        is 404, which says nothing of what is missing."""
        owner, name = parts(repository)
        return await self._call(repository, method, owner, name, *given, **more)

    async def _call(
        self, repository: str, method: Callable[[Any], Method], *given: Any, **more: Any
    ) -> httpx.Response | None:
        again = self._config.app is not None
        while True:
            self._pause.check()
            try:
                return (await method(self.rest)(*given, **more)).raw_response
            except Exception as error:
                found = errors.cause(error)
                if isinstance(found, RequestFailed) and not errors.is_about_token(found):
                    status = found.response.status_code
                    if status == 404:
                        return None
                    if status == 401 and again:
                        # An installation's token may be withdrawn before its time: once, another one is asked for.
                        again, self._github = False, self._open()
                        continue
                known = errors.failure(self.name, repository, found)
                if known is None:
                    raise
                raise self._pause.heed(known) from None

    async def get(
        self, type_: type[T], repository: str, method: Callable[[Any], Method], *given: Any, **more: Any
    ) -> T | None:
        """What stands there; None if it is 404."""
        response = await self.call(repository, method, *given, **more)
        return None if response is None else self.decoded(response, type_)

    async def page(
        self, item: type[T], repository: str, method: Callable[[Any], Method], number: int, *given: Any, **more: Any
    ) -> Page[T] | None:
        """One page of a listing; None if it is 404. `Link` names the next one."""
        response = await self.call(repository, method, *given, per_page=PER_PAGE, page=number, **more)
        if response is None:
            return None
        items = self.decoded(response, list[item])  # type: ignore[valid-type]
        return Page(
            items=tuple(items),
            promised=self._promises(response, number + 1),
            full=len(items) >= PER_PAGE,
            tag=response.headers.get("etag"),
        )

    def _promises(self, response: httpx.Response, number: int) -> bool:
        """Whether page `number` comes next. The address that stands there is not called, but it must be ours."""
        link = response.links.get("next", {}).get("url")
        if link is None:
            return False
        address = response.request.url.join(link)
        if (address.scheme, address.netloc) != (response.request.url.scheme, response.request.url.netloc):
            raise Blocked(
                f"{self.name} names a next page on another host, and the twin calls the configured one alone",
                key=f"{self.name}/elsewhere",
                mend="Give the forge's url and api_url by its canonical name.",
            )
        if address.params.get("page") != str(number):
            raise Contradiction(f"page {number - 1} does not name page {number} as the next one")
        return True

    def decoded(self, response: httpx.Response, type_: type[T]) -> T:
        """See `twin.forges.decoding`."""
        return decoded(self.name, response, type_)

    async def ensure_visible(self, repository: str) -> None:
        """Raise `Blocked` unless the repository is there for us: only then 404 below it means that a thing is not
        there."""
        if await self.call(repository, lambda rest: rest.repos.async_get) is None:
            raise failures.hidden(self.name, repository)

    async def gone(self, repository: str, what: str) -> Transient:
        """What to raise when a thing that the call needs is not there. Raises `Blocked` if it is the repository."""
        await self.ensure_visible(repository)
        return Transient(f"{self.name} has no {what} in {repository} now")

    async def not_allowed(self, repository: str) -> Blocked:
        """What to raise when a write is 404 below what was just read: so GitHub tells some tokens that they may not."""
        await self.ensure_visible(repository)
        return failures.forbidden(self.name, repository)

    async def me(self) -> str:
        """Our login: the token's user, or the app's bot. Asked once."""
        if self._me is None:
            if self._config.app is None:
                response = await self._call(ITSELF, lambda rest: rest.users.async_get_authenticated)
            else:
                response = await self._call(ITSELF, lambda rest: rest.apps.async_get_authenticated)
            if response is None:
                raise failures.not_understood(self.name, "nobody has this credential")
            self._me = (
                self.decoded(response, User).login
                if self._config.app is None
                else f"{self.decoded(response, AppItself).slug}[bot]"
            )
        return self._me

    async def close(self) -> None:
        """Give back connections."""
        await self._transport.finish()

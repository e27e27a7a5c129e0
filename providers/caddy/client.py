"""What can be done by Caddy's admin API, each operation safe to repeat.

All routes of a server are one array. It is read with its ETag and written as a whole under If-Match: an edit by `/id/…`
would find its place first and change it later, when somebody else may have moved it.
"""

from __future__ import annotations

import asyncio
import random
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from providers.caddy.errors import translate, translated
from providers.caddy.spec import TargetConfig
from twin.domain.errors import Transient

TIMEOUT = 20.0
"""Seconds for each answer; a change is answered once the new configuration runs."""

TRIES = 50
"""How often an edit is made anew because somebody else was quicker."""

CUTS = 5
"""How often a request that was cut is repeated before the server counts as away."""

JsonRoute = dict[str, Any]
"""A route as Caddy keeps it."""

Edit = Callable[[list[JsonRoute]], list[JsonRoute]]


class Server:
    """One HTTP server of one Caddy. It holds no connection."""

    def __init__(self, target: str, config: TargetConfig) -> None:
        self._target = target
        self._config = config
        self._path = f"/config/apps/http/servers/{config.server}/routes"

    @property
    def endpoint(self) -> str:
        """The admin API's address and the server within, for a placement."""
        return f"{self._config.admin}#{self._config.server}"

    async def identity(self) -> str:
        """The fingerprint of the local certificate authority, which Caddy makes once and keeps in its storage: a
        configuration that was replaced is the same server, another storage is another."""
        async with self._session() as session:
            answer = await self._ask(session, "GET", "/pki/ca/local")
            kept = msgspec.json.decode(answer.content, type=dict[str, Any])
        return sha256(str(kept.get("root_certificate", "")).encode()).hexdigest()[:32]

    async def routes(self) -> list[JsonRoute]:
        """All routes, first match first."""
        async with self._session() as session:
            found, _ = await self._routes(session)
        return found or []

    def removal(self, route: JsonRoute, place: int) -> str:
        """How a person takes a route out: by its id, or, if that was taken off, by its place, which may change."""
        path = f"/id/{quote(str(route['@id']), safe='')}" if "@id" in route else f"{self._path}/{place}"
        socket = self._config.socket
        at = ["--unix-socket", socket, f"http://localhost{path}"] if socket else [self._config.admin + path]
        return shlex.join(["curl", "--fail", "-X", "DELETE", *at])

    async def change(self, edit: Edit) -> list[JsonRoute]:
        """Make the routes what `edit` makes of them, against no other writer. They serve when it returns them."""
        async with self._session() as session:
            for _ in range(TRIES):
                found, etag = await self._routes(session)
                wanted = edit(msgspec.json.decode(msgspec.json.encode(found or [])))
                if wanted == (found or []):
                    return wanted
                # PATCH replaces what is there, PUT makes what is not.
                try:
                    answer = await session.request(
                        "PUT" if found is None else "PATCH", self._path, json=wanted, headers={"If-Match": etag}
                    )
                except (httpx.NetworkError, httpx.RemoteProtocolError):
                    continue  # cut, perhaps after it was done: look again
                if answer.status_code != httpx.codes.PRECONDITION_FAILED:
                    self._check(answer)
                    return wanted
                await asyncio.sleep(random.uniform(0.0, 0.2))  # noqa: S311 - so that two do not meet again
        raise Transient(f"The routes of {self._target} are changed by others all the time.")

    async def _routes(self, session: httpx.AsyncClient) -> tuple[list[JsonRoute] | None, str]:
        answer = await self._ask(session, "GET", self._path)
        return msgspec.json.decode(answer.content, type=list[JsonRoute] | None), answer.headers.get("Etag", "")

    async def _ask(self, session: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
        answer = await self._read(session, method, path)
        self._check(answer)
        return answer

    async def _read(self, session: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
        """Ask again if cut: with every change of its configuration Caddy begins its admin API anew."""
        for _ in range(CUTS):
            try:
                return await session.request(method, path)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                await asyncio.sleep(random.uniform(0.0, 0.1))  # noqa: S311 - so that not all come back at once
        return await session.request(method, path)

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_success:
            try:
                said = str(msgspec.json.decode(answer.content, type=dict[str, Any]).get("error", ""))
            except msgspec.DecodeError:
                said = answer.text
            raise translate(answer.status_code, said, target=self._target, server=self._config.server)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[httpx.AsyncClient]:
        socket = self._config.socket
        base = "http://localhost" if socket is not None else self._config.admin
        with translated(target=self._target):
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=socket, limits=httpx.Limits(max_keepalive_connections=0)),
                base_url=base,
                headers={"Origin": base},  # a Caddy with enforce_origin asks for it
                timeout=TIMEOUT,
                trust_env=False,
            ) as session:
                yield session

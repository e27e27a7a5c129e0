"""A GitHub on the loopback: what its REST documentation describes, as far as previews use it, and a record of it all.

Who comes with which credential, how many calls that may make, what has not changed since: here. What is asked and said
is in `github_rest`.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from githubkit_schemas.latest import models
from msgspec import Struct

from tests.providers.github_answers import ELSEWHERE, Json, answer_of, grown
from tests.providers.github_rest import ROUTES, Refused, Rest
from twin.testing.loopback import Answer, Call, Loopback
from twin.testing.meddling import Rule, forward

APP_ID, INSTALLATION_ID, SLUG = 4711, 815, "twin-previews"

ENTERPRISE = "/api/v3"
"""Before the paths of the API, where it is on the same host as the pages."""

VERSIONS = ("2022-11-28", "2026-03-10")
LIMIT = 5000


class Exchange(Struct, kw_only=True):
    """A request as it came in and when (seconds since 1970), and its answer, once there is one."""

    call: Call
    at: float
    answer: Answer | None = None

    @property
    def answered(self) -> Answer:
        """The answer of one that has it."""
        assert self.answer is not None, f"{self.call.method} {self.path} is not answered yet"
        return self.answer

    @property
    def status(self) -> int:
        """0 while it is not answered."""
        return self.answer.status if self.answer is not None else 0

    @property
    def path(self) -> str:
        """As the documentation writes it."""
        return self.call.path.removeprefix(ENTERPRISE)

    @property
    def is_write(self) -> bool:
        """Whether it changes, or would change, what people see. A token that is asked for is nothing to them."""
        return self.call.method not in ("GET", "HEAD") and self.path.startswith("/repos/")


class Quota(Struct, kw_only=True):
    """How many calls one credential has left until `reset`, in seconds since 1970."""

    left: int = LIMIT
    reset: int = 0

    def told(self) -> dict[str, str]:
        """The headers that tell it."""
        return {
            "x-ratelimit-limit": str(LIMIT),
            "x-ratelimit-remaining": str(self.left),
            "x-ratelimit-used": str(LIMIT - self.left),
            "x-ratelimit-reset": str(self.reset),
            "x-ratelimit-resource": "core",
        }


class GitHub(Rest):
    """Users, their tokens, one app, repositories.

    `record` has every request, oldest first, whoever sent it. `rule` may answer in its place: see
    `twin.testing.meddling`. `git` answers what is asked below a repository's `.git`. `elsewhere`: where addresses for
    programs lead in all answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server = Loopback(self._handle)
        self._quotas: dict[str, Quota] = {}
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.tokens: dict[str, str] = {}
        self.installed: dict[str, datetime] = {}
        self.moved: dict[str, str] = {}
        self.record: list[Exchange] = []
        self.rule: Rule = forward
        self.git: Callable[[Call], Awaitable[Answer]] | None = None
        self.elsewhere = ELSEWHERE

    async def __aenter__(self) -> GitHub:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def private_key(self) -> str:
        """The app's, in PEM."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(encoding, form, serialization.NoEncryption()).decode()

    def token(self, login: str) -> str:
        """A personal access token."""
        token = f"ghp_{secrets.token_hex(18)}"
        self.tokens[token] = login
        return token

    def exhaust(self, login: str, *, seconds: float) -> int:
        """Let somebody have made all calls of the hour; it ends in so many seconds, and then at the full second that is
        returned."""
        quota = self._quota(login)
        quota.left, quota.reset = 0, math.ceil(time.time() + seconds)
        return quota.reset

    # the way of a call

    async def _handle(self, call: Call) -> Answer:
        exchange = Exchange(call=call, at=time.time())
        self.record.append(exchange)

        async def answer() -> Answer:
            if self.git is not None and re.match(r"/[^/]+/[^/]+\.git/", call.path):
                return await self.git(call)
            return self._answered(call)

        exchange.answer = await self.rule(call, answer)
        return exchange.answer

    def _answered(self, call: Call) -> Answer:
        try:
            answer = self._routed(call)
        except Refused as refused:
            answer = refused.answer
        headers = {"x-github-request-id": secrets.token_hex(8), **answer.headers}
        body = answer.body.replace(ELSEWHERE.encode(), self.elsewhere.encode())
        answer = Answer(status=answer.status, headers=headers, body=body)
        if call.method == "GET" and answer.status == 200:
            # The documentation: an ETag comes with most answers, is of one credential, and an unchanged one is 304 and
            # costs nothing.
            link, bearer = answer.headers.get("link", ""), call.headers["authorization"]
            tag = f'W/"{hashlib.sha256(repr((bearer, link, body)).encode()).hexdigest()}"'
            headers["etag"] = tag
            if call.headers.get("if-none-match") == tag:
                answer = Answer(status=304, headers={"etag": tag})
        login = self._known(call)
        if login is not None:
            quota = self._quota(login)
            if answer.status != 304 and quota.left > 0:
                quota.left -= 1
            answer.headers.update(quota.told())
        return answer

    def _quota(self, login: str) -> Quota:
        quota = self._quotas.setdefault(login, Quota())
        if quota.reset <= time.time():
            quota.left, quota.reset = LIMIT, math.ceil(time.time() + 3600)
        return quota

    def _routed(self, call: Call) -> Answer:
        if "user-agent" not in call.headers:
            raise Refused(403, "Request forbidden by administrative rules.")
        version = call.headers.get("x-github-api-version", VERSIONS[0])
        if version not in VERSIONS:
            raise Refused(400, f"Version {version} is not supported.")
        path = call.path.removeprefix(ENTERPRISE)
        if path == "/app" or path.startswith("/app/"):
            return self._as_app(call, path)
        login = self._known(call)
        if login is None:
            raise Refused(401, "Bad credentials")
        if self._quota(login).left <= 0:
            raise Refused(403, "API rate limit exceeded for user ID 1.")
        if path == "/user":
            return answer_of(200, grown(models.PublicUser, login=login, id=1))
        matched = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", path)
        if matched is None:
            raise Refused(404, "Not Found")
        name, rest = unquote(matched[1]), matched[2] or ""
        if name in self.moved:
            return self._moved(call, f"/repos/{self.moved[name]}{rest}")
        repository = self.repositories.get(name)
        if repository is None or not {"*", login} & {*repository["readers"]}:
            raise Refused(404, "Not Found")
        for method, pattern, handle in ROUTES:
            if method == call.method and (found := re.fullmatch(pattern, rest)):
                return handle(self, call, login, repository, *(unquote(part) for part in found.groups()))
        raise Refused(404, "Not Found")

    def _moved(self, call: Call, path: str) -> Answer:
        prefix = ENTERPRISE if call.path.startswith(ENTERPRISE) else ""
        query = f"?{call.target.partition('?')[2]}" if "?" in call.target else ""
        status = 301 if call.method == "GET" else 307
        where = f"http://{call.headers['host']}{prefix}{path}{query}"
        return Answer(status=status, headers={"location": where}, body=b'{"message": "Moved Permanently"}')

    def _known(self, call: Call) -> str | None:
        """Who comes with a token; None: nobody that is known."""
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if kind.lower() in ("token", "bearer"):
            if token in self.tokens:
                return self.tokens[token]
            if self.installed.get(token, datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC):
                return f"{SLUG}[bot]"
        return None

    def _as_app(self, call: Call, path: str) -> Answer:
        _, _, token = call.headers.get("authorization", "").partition(" ")
        try:
            claims = jwt.decode(
                token, self.key.public_key(), algorithms=["RS256"], options={"require": ["iss", "iat", "exp"]}
            )
        except jwt.InvalidTokenError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        if claims["iss"] != str(APP_ID) or claims["exp"] - claims["iat"] > 600:
            raise Refused(401, "Integration not found")
        if path == "/app":
            return answer_of(200, grown(models.Integration, id=APP_ID, slug=SLUG))
        if call.method == "POST" and path == f"/app/installations/{INSTALLATION_ID}/access_tokens":
            made, until = f"ghs_{secrets.token_hex(18)}", datetime.now(UTC) + timedelta(hours=1)
            self.installed[made] = until
            return answer_of(201, {"token": made, "expires_at": f"{until:%Y-%m-%dT%H:%M:%SZ}", "permissions": {}})
        raise Refused(404, "Not Found")

    # what was sent

    def sent(self, method: str = "", path: str = "", *, since: int = 0) -> list[Exchange]:
        """Of the record, from its entry `since` on, the requests of a method whose paths match all of a pattern."""
        wanted = re.compile(path or ".*")
        return [
            each
            for each in self.record[since:]
            if method in ("", each.call.method) and wanted.fullmatch(each.path) is not None
        ]


__all__ = ["APP_ID", "INSTALLATION_ID", "SLUG", "Exchange", "GitHub", "Json"]

"""What stands between a client and a server and can answer in its place: limits, errors, cuts, silence.

async with Meddler("http://127.0.0.1:3000") as between:
    between.rule = instead(Answer(status=500), when=lambda call: call.method == "POST")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

import httpx

from twin.testing.loopback import Answer, Call, Loopback

Forward = Callable[[], Awaitable[Answer]]
Rule = Callable[[Call, Forward], Awaitable[Answer]]
When = Callable[[Call], bool]

_OF_THE_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"})


async def forward(call: Call, forward: Forward) -> Answer:
    """The server's answer."""
    return await forward()


def instead(answer: Answer, *, when: When = lambda call: True) -> Rule:
    """This answer, and the server does not hear of the call."""

    async def rule(call: Call, forward: Forward) -> Answer:
        return answer if when(call) else await forward()

    return rule


def after(change: Callable[[Answer], Answer], *, when: When = lambda call: True) -> Rule:
    """The server's answer, changed."""

    async def rule(call: Call, forward: Forward) -> Answer:
        answer = await forward()
        return change(answer) if when(call) else answer

    return rule


class Meddler:
    """Forwards what its rule does not answer. The server hears the meddler's own address as Host, as behind a proxy."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._client = httpx.AsyncClient(timeout=60, trust_env=False)
        self._server = Loopback(self._handle)
        self.rule: Rule = forward
        self.seen: list[Call] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    async def __aenter__(self) -> Meddler:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)
        await self._client.aclose()

    async def _handle(self, call: Call) -> Answer:
        self.seen.append(call)

        async def forward() -> Answer:
            headers = {name: value for name, value in call.headers.items() if name not in _OF_THE_CONNECTION}
            response = await self._client.request(
                call.method, f"{self._upstream}{call.target}", headers=headers, content=call.body
            )
            kept = {name: value for name, value in response.headers.items() if name not in _OF_THE_CONNECTION}
            return Answer(status=response.status_code, headers=kept, body=response.content)

        return await self.rule(call, forward)

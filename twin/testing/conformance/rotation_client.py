"""The two sides of a rotation in the conformance suite: the twin keeps the credentials, and an app uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from structlog.testing import LogCapture

from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, RotatesCredentials, StepContext
from twin.testing.conformance.provider_hooks import ProviderHooks
from twin.testing.steps import make_log

OpenSession = AbstractAsyncContextManager[Callable[[], Awaitable[Any]]]
"""A connection; what it gives asks the server something over it."""

SERVED_WITHIN = 30.0
"""Seconds in which an app gets its answers."""


class Rotating(RotatesCredentials, Protocol):
    """A provider that rotates: the part of it that the suite calls."""

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """As `Provider.apply`."""
        ...


class Credentials:
    """One component's credentials. `known` holds each version's secrets: minted before the call that makes it valid,
    then completed by what the provider gave, as the vault has them. `applied` is what was given for each version."""

    def __init__(self, suite: ProviderHooks, provider: Any, ref: ComponentRef) -> None:
        self._suite = suite
        self._provider: Rotating = provider
        self.ref = ref
        self.known: dict[int, dict[str, str]] = {}
        self.applied: dict[int, Applied] = {}
        self.log = make_log(LogCapture())

    def step(self, *live: int, n: int = 0) -> StepContext:
        """A step with these versions live, and the inputs of variant `n`."""
        known = {version: self.known.setdefault(version, self._suite.minted()) for version in live}
        return self._suite.step(self._suite.inputs(n), known[max(live)], credentials=known, log=self.log)

    async def create(self) -> Applied:
        """The component, with version 1."""
        return await self.apply(1)

    async def apply(self, *live: int, n: int = 0) -> Applied:
        """Apply with these live."""
        return self._given(max(live), await self._provider.apply(self.ref, self.step(*live, n=n)))

    async def issue(self, version: int) -> Applied:
        """Issue it beside the one before it."""
        return self._given(version, await self._provider.issue(self.ref, self.step(version - 1, version)))

    async def retire(self, version: int, *, live: tuple[int, ...]) -> None:
        """End it; `live` stay."""
        await self._provider.retire(self.ref, self.step(*live), version, self.known[version])

    def _given(self, version: int, applied: Applied) -> Applied:
        self.known[version] |= applied.secrets
        self.applied[version] = applied
        return applied


class Client:
    """An app that connects, asks, and closes, again and again, with the credential that is `current`.

    `refused` are its failed authentications and `broken` its other failures.
    """

    def __init__(
        self,
        session: Callable[[Applied], OpenSession],
        is_refusal: Callable[[Exception], bool],
        current: Applied,
    ) -> None:
        self._session = session
        self._is_refusal = is_refusal
        self.current = current
        self.refused: list[Exception] = []
        self.broken: list[Exception] = []
        self._closing = False
        self._turns = 0
        self._turned = asyncio.Condition()

    async def served(self) -> None:
        """Wait until two turns are over: the second has begun after now, so it used what is current now."""
        async with asyncio.timeout(SERVED_WITHIN), self._turned:
            until = self._turns + 2
            await self._turned.wait_for(lambda: self._turns >= until)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        # Not by cancelling: clients of libraries are known to swallow that.
        self._closing = True
        async with asyncio.timeout(SERVED_WITHIN):
            await self._task

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with self._session(self.current) as ask:
                    await ask()
            except Exception as error:  # told apart, and judged by the test
                (self.refused if self._is_refusal(error) else self.broken).append(error)
            async with self._turned:
                self._turns += 1
                self._turned.notify_all()

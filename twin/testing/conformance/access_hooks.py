"""What the suites of personal access have in common: people, and a session of a real client that enters as one."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, Protocol

import pytest

from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, GrantsAccess, Member, Provider
from twin.testing.conformance.provider_hooks import ProviderHooks

Role = Literal["viewer", "developer", "operator", "admin"]
Given = Mapping[str, Mapping[str, str]]


class Session(Protocol):
    """A member's open connection, from the member's own secrets alone. What the server refuses because of who the
    member is raises PermissionError; every wait is bounded."""

    async def read(self) -> str | None:
        """The value that `put` or `write` stored last, None if there is none."""
        ...

    async def write(self, value: str) -> None:
        """Store a value where the application and other members find it."""
        ...

    async def ended(self) -> None:
        """Return once the server has ended the connection; TimeoutError if it does not."""
        ...

    async def close(self) -> None:
        """End it; ended already is success."""
        ...


class AccessHooks(ProviderHooks):
    """To be filled in by a provider's suite, and what follows from it."""

    @abstractmethod
    async def enter(self, applied: Applied, secrets: Mapping[str, str]) -> Session:
        """Log in with a member's secrets; PermissionError if the server refuses. `applied` is the component."""

    def member(self, name: str, role: Role) -> Member:
        """A person with a fresh password."""
        return Member(name=name, role=role, secrets={"password": secrets.token_urlsafe(24)})

    def members(self, **roles: Role) -> list[Member]:
        """People by name and role."""
        return [self.member(name, role) for name, role in roles.items()]

    def as_role(self, member: Member, role: Role) -> Member:
        """The same person in another role."""
        return Member(name=member.name, role=role, secrets=member.secrets)

    async def grant(self, provider: Provider, ref: ComponentRef, *members: Member) -> Given:
        """Grant exactly these."""
        assert isinstance(provider, GrantsAccess)
        return await provider.grant(ref, self.step(self.inputs(0), {}), members)

    @asynccontextmanager
    async def session(self, applied: Applied, given: Mapping[str, str]) -> AsyncIterator[Session]:
        """An open session, closed at the end."""
        session = await self.enter(applied, given)
        try:
            yield session
        finally:
            await session.close()

    async def assert_refused(self, applied: Applied, given: Mapping[str, str]) -> None:
        """The server does not let the member in."""
        with pytest.raises(PermissionError):
            async with self.session(applied, given):
                pass

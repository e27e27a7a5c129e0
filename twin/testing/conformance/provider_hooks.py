"""What a provider's author fills in for the conformance suite, and what its tests have in common."""

from __future__ import annotations

import secrets
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from msgspec.structs import replace

from twin.domain.component_type import ComponentType
from twin.domain.errors import StepFailure
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Provider, Resource, StepContext
from twin.testing.steps import make_ref, make_step


class ProviderHooks(ABC):
    """All but the tests."""

    component_type: ClassVar[ComponentType]

    cuts: ClassVar[int] = 6
    """At how many points an attempt is interrupted; each costs an apply and a removal."""

    rotation_revokes: ClassVar[bool] = True
    """Whether the old secret is refused once another one is applied."""

    credentials: Mapping[str, str] = {}
    """The target's credentials, which must show up nowhere."""

    @abstractmethod
    def inputs(self, n: int) -> Mapping[str, Any]:
        """Valid inputs: n = 0 as created, n = 1 with scalable inputs changed (the same if there are none)."""

    @abstractmethod
    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        """Prove with a real client that what was applied works; may run several times on the same component."""

    async def put(self, applied: Applied, value: str) -> None:
        """Optional: store a value in the component. With `get`, proves that data outlive what must not lose them."""
        pytest.skip("the suite has no `put` and `get`")

    async def get(self, applied: Applied) -> str | None:
        """Optional: the value that `put` stored."""
        return None

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        """Optional: ways to break what was applied, behind the twin's back; `observe` must see, `apply` mend."""
        return {}

    def unreachable(self) -> Provider | None:
        """Optional: a provider whose server is not there."""
        return None

    def refused(self) -> Provider | None:
        """Optional: a provider whose credentials the server does not take."""
        return None

    def step(self, inputs: Mapping[str, Any], secrets: Mapping[str, str], **more: Any) -> StepContext:
        """Override to add what the provider needs, for example a bundle."""
        return make_step(inputs, secrets, **more)

    def minted(self) -> dict[str, str]:
        """Fresh secrets, as the twin mints them before the call."""
        return {name: secrets.token_urlsafe(24) for name in self.component_type.minted}

    @pytest_asyncio.fixture
    async def ref(self, provider: Provider) -> AsyncIterator[ComponentRef]:
        """A component of a fresh environment, removed after the test."""
        ref = self.make_ref()
        yield ref
        await self.remove(provider, ref)

    @pytest_asyncio.fixture
    async def other(self, provider: Provider) -> AsyncIterator[ComponentRef]:
        """The same component of another environment."""
        ref = self.make_ref()
        yield ref
        await self.remove(provider, ref)

    def make_ref(self, component: str = "db", **more: Any) -> ComponentRef:
        """A reference of this suite's type."""
        return make_ref(component, type=self.component_type.name, **more)

    async def apply(
        self, provider: Provider, ref: ComponentRef, n: int = 0, minted: Mapping[str, str] | None = None
    ) -> Applied:
        """Apply variant `n`."""
        return await provider.apply(ref, self.step(self.inputs(n), self.minted() if minted is None else minted))

    async def remove(self, provider: Provider, ref: ComponentRef) -> None:
        """Remove what `apply` made."""
        await provider.remove(ref, self.step(self.inputs(0), {}))

    async def owned(self, provider: Provider, ref: ComponentRef) -> list[Resource]:
        """The inventory of the reference's environment, in a fixed order; without the commands that remove it, which
        tell of what happens to stand below it too."""
        found = [replace(resource, removal="") async for resource in provider.owned(ref.environment)]
        return sorted(found, key=lambda resource: (resource.kind, resource.external_id))

    async def assert_as_applied(self, provider: Provider, ref: ComponentRef, applied: Applied, n: int = 0) -> None:
        """It works, and a plan would be empty."""
        await self.use(applied, self.inputs(n))
        observed = await provider.observe(ref, self.inputs(n))
        assert observed is not None, "what was applied is seen"
        assert observed.drift == {}, "right after apply nothing has drifted, so a plan is empty"
        assert observed.external_id == applied.external_id
        same = {name: value for name, value in applied.outputs.items() if name in observed.outputs}
        assert observed.outputs == same, "observe and apply agree about the outputs"

    async def assert_gone(self, provider: Provider, ref: ComponentRef) -> None:
        """Nothing of the environment is left."""
        assert await provider.observe(ref, self.inputs(0)) is None, "what was removed is not seen"
        assert await self.owned(provider, ref) == [], "the inventory is empty"

    async def assert_fails(
        self, provider: Provider, ref: ComponentRef, expected: type[StepFailure]
    ) -> list[StepFailure]:
        """Every call fails with that class, and no failure shows a secret; gives the failures."""
        minted, failures = self.minted(), []
        step = self.step(self.inputs(0), minted)

        async def inventory() -> None:
            await self.owned(provider, ref)

        calls: list[Callable[[], Awaitable[Any]]] = [
            provider.identify,
            lambda: provider.observe(ref, self.inputs(0)),
            lambda: provider.apply(ref, step),
            lambda: provider.remove(ref, step),
            inventory,
        ]
        try:
            for call in calls:
                with pytest.raises(expected) as caught:
                    await call()
                shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
                assert_hidden(shown, {*minted.values(), *self.credentials.values()})
                failures.append(caught.value)
        finally:
            await provider.close()
        return failures


def assert_hidden(text: str, hidden: Iterable[str]) -> None:
    """None of the secrets stands in the text. Short ones are passed over: `twin` is a user's name and a common word."""
    for secret in hidden:
        assert len(secret) < 8 or secret not in text, "a secret is shown"

"""pulumi.stack against the real CLI, with a backend of files and a directory as the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from providers.pulumi.provider import PulumiProvider
from providers.pulumi.spec import STACK
from tests.providers.pulumi_world import PASSPHRASE, Shelf, open_provider, step
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, StepContext
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.steps import make_ref


class TestStack(ProviderConformance):
    """A stack of two books."""

    component_type = replace(STACK, outputs=("text",), secrets=("url",))
    credentials: ClassVar = {"passphrase": PASSPHRASE}
    cuts = 2

    @pytest.fixture(autouse=True)
    def shelf(self, tmp_path: Path) -> Shelf:
        self._shelf = Shelf(tmp_path / "shelf")
        return self._shelf

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[PulumiProvider]:
        provider = open_provider(tmp_path / "target")
        yield provider
        await provider.close()

    @pytest.fixture
    def ref(self) -> ComponentRef:
        """A component of a fresh environment. State and world lie in the test's own directory: none needs to go."""
        return self.make_ref()

    @pytest.fixture
    def other(self) -> ComponentRef:
        """The same of another environment."""
        return self.make_ref()

    def inputs(self, n: int) -> Mapping[str, Any]:
        return self._shelf.inputs(text=f"edition {n}")

    def step(self, inputs: Mapping[str, Any], secrets: Mapping[str, str], **more: Any) -> StepContext:
        return step(inputs, secrets=secrets, **more)

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        books = self._shelf.books(applied.external_id)
        assert list(books.values()) == [inputs["config"]["text"]] * 2, f"two books with this text: {books}"

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        async def scribbled(applied: Applied) -> None:
            next(self._shelf.directory.glob(f"{applied.external_id}-book-0*")).write_text("scribble")

        async def lost(applied: Applied) -> None:
            next(self._shelf.directory.glob(f"{applied.external_id}-book-1*")).unlink()

        return {"a book scribbled in": scribbled, "a book lost": lost}


async def test_it_tells_what_it_waits_for(tmp_path: Path) -> None:
    shelf, provider, heard = Shelf(tmp_path / "shelf"), open_provider(tmp_path / "target"), []

    async def hear(progress: str) -> None:
        heard.append(progress)

    try:
        ref = make_ref(STACK.name)
        await provider.apply(ref, step(shelf.inputs(delay=3), heartbeat=hear))
    finally:
        await provider.close()
    told = [each for each in dict.fromkeys(heard) if "waiting for book" in each]
    assert told == ["0 of 2, waiting for book-0", "1 of 2, waiting for book-1"], heard

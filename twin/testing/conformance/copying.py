"""What every provider must do that can make a component a copy of another's data, proven against its real server.

Its author writes, beside the suite of `provider.py`:

    class TestDatabaseCopies(CopyConformance):
        component_type, provider, inputs, use           # as there

        async def fill(self, applied, values):           # stores them, one thing (row, key, message) each
            ...

        async def values(self, applied):                 # all that are there, in any order
            ...

        async def enterable(self, ref, source):          # whether anybody but the twin gets at a copy in the making
            ...

and, for the modes that its type has, `masking` and `broken_masking`. `elsewhere` gives a second server.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Literal

import pytest
from structlog.testing import LogCapture

from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, CopiesData, Provider, Seeded, Source
from twin.testing.conformance.provider_hooks import ProviderHooks, assert_hidden
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_log

Mode = Literal["schema", "full", "masked"]

VALUES = tuple(f"ada-{n}@example.com" for n in range(25))
"""What the source holds."""


@pytest.mark.asyncio
class CopyConformance(ProviderHooks):
    """Subclass it as `Test…Copies`, with a fixture `provider`."""

    copy_cuts: ClassVar[int] = 6
    """At how many points a copy is interrupted; each costs two copies and a removal."""

    @abstractmethod
    async def fill(self, applied: Applied, values: Sequence[str]) -> None:
        """Store the values beside those that are there, each as one of what `Seeded.rows` counts."""

    @abstractmethod
    async def values(self, applied: Applied) -> list[str]:
        """All values that are there; none if there is no place for them."""

    @abstractmethod
    async def enterable(self, ref: ComponentRef, source: Applied) -> bool:
        """Try to get at whatever of a copy stands in the world already, by the source's credentials and any other way
        that a user has."""

    def masking(self) -> Mapping[str, bytes]:
        """For `masked`: scripts after which every value is `masked`."""
        return {}

    def broken_masking(self) -> Mapping[str, bytes]:
        """For `masked`: scripts that fail at a value, so that the server's own words would show it."""
        return {}

    def elsewhere(self) -> Provider | None:
        """Optional: a provider of the same kind on another server."""
        return None

    async def test_the_type_says_that_it_copies(self, provider: Provider) -> None:
        assert self.component_type.copies
        assert self.component_type.copies <= {"schema", "full", "masked"}
        assert isinstance(provider, CopiesData)
        assert bool(self.masking()) == ("masked" in self.component_type.copies)
        assert bool(self.broken_masking()) == ("masked" in self.component_type.copies)

    async def test_a_full_copy_has_the_sources_data_and_nothing_else_of_it(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        source = await self.filled(provider, other)
        before, minted = await self.owned(provider, other), self.minted()
        seeded = await self.seed(provider, ref, self.source(provider, other))
        assert seeded.rows == len(VALUES)
        assert seeded.bytes > 0
        assert seeded.point
        copy = await self.apply(provider, ref, minted=minted)
        await self.assert_as_applied(provider, ref, copy)
        assert sorted(await self.values(copy)) == sorted(VALUES)
        assert not set(copy.secrets.values()) & set(source.secrets.values()), "secrets are never copied"
        assert await self.owned(provider, other) == before
        await self.assert_as_applied(provider, other, source)
        assert sorted(await self.values(source)) == sorted(VALUES)

    async def test_copy_and_source_live_apart(self, provider: Provider, ref: ComponentRef, other: ComponentRef) -> None:
        source = await self.filled(provider, other)
        await self.seed(provider, ref, self.source(provider, other))
        copy = await self.apply(provider, ref)
        await self.fill(source, ["only in the source"])
        await self.fill(copy, ["only in the copy"])
        assert "only in the copy" not in await self.values(source)
        assert "only in the source" not in await self.values(copy)
        await self.remove(provider, other)
        await self.assert_gone(provider, other)
        await self.assert_as_applied(provider, ref, copy)
        assert sorted(await self.values(copy)) == sorted([*VALUES, "only in the copy"])

    async def test_the_source_can_outlive_its_copies(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        source = await self.filled(provider, other)
        await self.seed(provider, ref, self.source(provider, other))
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)
        assert sorted(await self.values(source)) == sorted(VALUES)

    async def test_what_is_finished_is_not_copied_again(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        source, minted = await self.filled(provider, other), self.minted()
        seeded = await self.seed(provider, ref, self.source(provider, other))
        await self.fill(source, ["later"])
        assert await self.seed(provider, ref, self.source(provider, other)) == seeded
        copy = await self.apply(provider, ref, minted=minted)
        await self.fill(copy, ["precious"])
        assert await self.seed(provider, ref, self.source(provider, other)) == seeded, "also if it comes too late"
        copy = await self.apply(provider, ref, minted=minted)
        assert sorted(await self.values(copy)) == sorted([*VALUES, "precious"])

    async def test_a_copy_cut_anywhere_is_made_anew_or_is_done(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        await self.filled(provider, other)
        total = Suspensions()
        await counted(self.seed(provider, ref, self.source(provider, other)), total)
        await self.apply(provider, ref)
        owned = await self.owned(provider, ref)
        for at in spread(total.count, self.copy_cuts):
            cut = self.make_ref()
            try:
                await cut_short(self.seed(provider, cut, self.source(provider, other)), at)
                await self.seed(provider, cut, self.source(provider, other))
                copy = await self.apply(provider, cut)
                assert sorted(await self.values(copy)) == sorted(VALUES), f"cut at {at}/{total.count}"
                await self.assert_as_applied(provider, cut, copy)
                assert len(await self.owned(provider, cut)) == len(owned), f"cut at {at}: nothing is left of the first"
            finally:
                await self.remove(provider, cut)
            await self.assert_gone(provider, cut)

    async def test_remove_clears_every_stage_of_a_copy(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        await self.filled(provider, other)
        total = Suspensions()
        await counted(self.seed(provider, ref, self.source(provider, other)), total)
        assert await self.owned(provider, ref), "what is not yet opened is in the inventory too"
        for at in (*spread(total.count, self.copy_cuts), None):
            cut = self.make_ref()
            if at is None:
                await self.seed(provider, cut, self.source(provider, other))
            else:
                await cut_short(self.seed(provider, cut, self.source(provider, other)), at)
            await self.remove(provider, cut)
            await self.assert_gone(provider, cut)

    async def test_two_attempts_at_once_end_in_one_copy(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        await self.filled(provider, other)
        outcomes = await asyncio.gather(
            *(self.seed(provider, ref, self.source(provider, other)) for _ in range(2)), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, Seeded | Transient), f"a zombie may only be told to wait: {outcome!r}"
        seeded = await self.seed(provider, ref, self.source(provider, other))
        assert seeded.rows == len(VALUES)
        assert sorted(await self.values(await self.apply(provider, ref))) == sorted(VALUES)

    async def test_nobody_enters_before_it_is_applied(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        source, looks = await self.filled(provider, other), 0

        async def look(progress: str) -> None:
            nonlocal looks
            looks += 1
            assert not await self.enterable(ref, source), f"entered while: {progress}"

        mode: Mode = "masked" if self.masking() else "full"
        await self.seed(provider, ref, self.source(provider, other, mode), heartbeat=look)
        assert looks, "progress is told"
        assert not await self.enterable(ref, source), "finished, and not yet opened"

    async def test_the_source_serves_while_it_is_copied(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        source, served, ended = await self.filled(provider, other), 0, asyncio.Event()

        async def serve() -> None:
            nonlocal served
            while not ended.is_set():
                await self.fill(source, [f"written meanwhile {served}"])
                served += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            seeded = await self.seed(provider, ref, self.source(provider, other))
            ended.set()
        found = await self.values(await self.apply(provider, ref))
        assert served
        assert len(found) == seeded.rows, "what is counted is what was copied"
        assert set(VALUES) <= set(found)
        meanwhile = [value for value in found if value not in VALUES]
        assert sorted(meanwhile) == sorted(f"written meanwhile {n}" for n in range(len(meanwhile))), "one moment's"

    async def test_a_copy_on_another_server(self, provider: Provider, ref: ComponentRef, other: ComponentRef) -> None:
        there = self.elsewhere()
        if there is None:
            pytest.skip("the suite has no `elsewhere`")
        try:
            await self.filled(provider, other)
            seeded = await self.seed(there, ref, self.source(provider, other))
            assert seeded.rows == len(VALUES)
            copy = await self.apply(there, ref)
            await self.remove(provider, other)
            assert sorted(await self.values(copy)) == sorted(VALUES)
            await self.assert_gone(provider, ref)
            await self.remove(there, ref)
            await self.assert_gone(there, ref)
        finally:
            await there.close()

    async def test_a_copy_of_what_is_suspended(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        if not self.component_type.suspends:
            pytest.skip("the type cannot be suspended")
        minted = self.minted()
        source = await self.filled(provider, other, minted)
        await self.suspend(provider, other, minted)
        for mode in sorted(self.component_type.copies):
            mine = self.make_ref()
            try:
                await self.seed(provider, mine, self.source(provider, other, mode, suspended=True))  # type: ignore[arg-type]
                assert not await self.enterable(other, source), "the source is suspended still"
                copy = await self.apply(provider, mine)
                assert len(await self.values(copy)) == (0 if mode == "schema" else len(VALUES))
                await self.assert_as_applied(provider, mine, copy)
                await self.remove(provider, mine)
                await self.assert_gone(provider, mine)
            finally:
                await self.remove(provider, mine)
        source = await self.apply(provider, other, minted=minted)
        await self.assert_as_applied(provider, other, source)
        assert sorted(await self.values(source)) == sorted(VALUES)

    async def test_a_masked_copy_shows_no_value(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        self.needs("masked")
        source = await self.filled(provider, other)
        await self.seed(provider, ref, self.source(provider, other, "masked"))
        copy = await self.apply(provider, ref)
        assert await self.values(copy) == ["masked"] * len(VALUES)
        await self.assert_as_applied(provider, ref, copy)
        assert sorted(await self.values(source)) == sorted(VALUES), "the source is as it was"

    async def test_masking_that_fails_leaves_nothing_and_tells_no_value(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.needs("masked")
        caplog.set_level(0)
        source, log = await self.filled(provider, other), LogCapture()
        broken = Source(
            ref=other, provider=provider, inputs=self.inputs(0), mode="masked", masking=self.broken_masking()
        )
        with pytest.raises(Terminal) as terminal:
            await self.seed(provider, ref, broken, log=log)
        assert next(iter(self.broken_masking())) in terminal.value.message, "which script it was"
        told = f"{terminal.value.message} {terminal.value.mend} {log.entries} {caplog.text}"
        assert_hidden(told, VALUES)
        assert not await self.enterable(ref, source)
        await self.seed(provider, ref, self.source(provider, other, "masked"))  # with the scripts corrected
        assert await self.values(await self.apply(provider, ref)) == ["masked"] * len(VALUES)

    async def test_masked_without_scripts_is_refused(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        self.needs("masked")
        await self.filled(provider, other)
        with pytest.raises(Terminal):
            await self.seed(provider, ref, Source(ref=other, provider=provider, inputs=self.inputs(0), mode="masked"))

    async def test_a_copy_of_the_schema_is_empty_and_works(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        self.needs("schema")
        await self.filled(provider, other)
        seeded = await self.seed(provider, ref, self.source(provider, other, "schema"))
        assert (seeded.rows, seeded.bytes) == (0, 0)
        copy = await self.apply(provider, ref)
        assert await self.values(copy) == []
        await self.fill(copy, ["first"])
        await self.assert_as_applied(provider, ref, copy)

    async def test_a_source_that_is_gone_is_not_waited_for(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        with pytest.raises(Terminal):
            await self.seed(provider, ref, self.source(provider, other))
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)

    async def test_copying_shows_no_secret(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        source, log, heard = await self.filled(provider, other), LogCapture(), list[str]()

        async def heartbeat(progress: str) -> None:
            heard.append(progress)

        seeded = await self.seed(provider, ref, self.source(provider, other), log=log, heartbeat=heartbeat)
        owned = await self.owned(provider, ref)
        hidden = {*source.secrets.values(), *self.credentials.values(), *VALUES}
        for shown in (seeded, owned, log.entries, caplog.text, heard):
            assert_hidden(repr(shown), hidden)

    # --- what the tests have in common

    def needs(self, mode: Mode) -> None:
        """Skip a test of a mode that the type has not."""
        if mode not in self.component_type.copies:
            pytest.skip(f"the type has no {mode} copies")

    def source(self, provider: Provider, ref: ComponentRef, mode: Mode = "full", *, suspended: bool = False) -> Source:
        """The component as a source."""
        return Source(
            ref=ref,
            provider=provider,
            inputs=self.inputs(0),
            mode=mode,
            suspended=suspended,
            masking=self.masking() if mode == "masked" else {},
        )

    async def filled(self, provider: Provider, ref: ComponentRef, minted: Mapping[str, str] | None = None) -> Applied:
        """A source that holds VALUES."""
        applied = await self.apply(provider, ref, minted=minted)
        await self.fill(applied, VALUES)
        return applied

    async def suspend(self, provider: Provider, ref: ComponentRef, minted: Mapping[str, str]) -> None:
        """Suspend it."""
        await provider.suspend(ref, self.step(self.inputs(0), minted))  # type: ignore[attr-defined]

    async def seed(
        self,
        provider: Provider,
        ref: ComponentRef,
        source: Source,
        *,
        log: LogCapture | None = None,
        heartbeat: Callable[[str], Awaitable[None]] | None = None,
    ) -> Seeded:
        """Copy; the step's key tells modes apart, as the engine's does."""
        assert isinstance(provider, CopiesData)
        step = self.step(
            self.inputs(0),
            {},
            idempotency_key=f"{ref.environment}:{ref.component}:seed:{source.mode}",
            log=None if log is None else make_log(log),
            heartbeat=heartbeat,
        )
        return await provider.seed(ref, step, source)

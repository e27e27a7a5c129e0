"""What every provider must do, proven against its real server.

A provider's author writes:

    class TestDatabase(ProviderConformance):
        component_type = DATABASE

        @pytest.fixture
        async def provider(self, local_servers):           # an opened provider, closed by the fixture
            ...

        def inputs(self, n):                                # n = 0: as created, n = 1: scaled
            return {"connections": 10 + 10 * n}

        async def use(self, applied, inputs):               # raises or asserts if it does not work
            ...

and overrides the optional hooks below for what more the provider can show. The tests share one server and leave
nothing behind: all work on fresh environments.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import LogCapture

from twin.domain.errors import Blocked, StepFailure, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Provider, Suspends
from twin.testing.conformance.provider_hooks import ProviderHooks, assert_hidden
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_log

NASTY = """ '";\\ %41@:/?#[]{}$(x)`&=+,<>|~!^*- """.strip()
"""What may stand in a password and breaks whoever quotes by hand."""


@pytest.mark.asyncio
class ProviderConformance(ProviderHooks):
    """Subclass it as `Test…`, with a fixture `provider`."""

    async def test_identify_is_stable_and_carries_no_credentials(self, provider: Provider) -> None:
        first, second = await provider.identify(), await provider.identify()
        assert first == second
        assert first.target
        assert first.endpoint
        assert first.identity, "without the server's identity a replaced server would pass for an empty one"
        assert "@" not in first.endpoint
        assert_hidden(repr(first), self.credentials.values())

    async def test_absent_is_none_and_observing_changes_nothing(self, provider: Provider, ref: ComponentRef) -> None:
        assert await provider.observe(ref, self.inputs(0)) is None
        await self.assert_gone(provider, ref)

    async def test_apply_creates_what_works_and_gives_what_the_type_promises(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        applied = await self.apply(provider, ref)
        await self.assert_as_applied(provider, ref, applied)
        assert set(applied.outputs) == set(self.component_type.outputs)
        assert set(applied.secrets) == set(self.component_type.secrets)
        owned = await self.owned(provider, ref)
        assert owned, "the inventory lists what was created"
        assert len({(each.kind, each.external_id) for each in owned}) == len(owned), "and each thing once"

    async def test_apply_again_changes_nothing(self, provider: Provider, ref: ComponentRef) -> None:
        minted = self.minted()
        first = await self.apply(provider, ref, minted=minted)
        owned = await self.owned(provider, ref)
        second = await self.apply(provider, ref, minted=minted)
        assert (second.external_id, second.outputs) == (first.external_id, first.outputs)
        assert await self.owned(provider, ref) == owned, "nothing is doubled"
        await self.assert_as_applied(provider, ref, second)

    async def test_apply_converges_from_an_interrupted_attempt(self, provider: Provider, ref: ComponentRef) -> None:
        total = Suspensions()
        await counted(self.apply(provider, ref), total)
        owned = await self.owned(provider, ref)
        for at in spread(total.count, self.cuts):
            cut = self.make_ref()
            try:
                minted = self.minted()  # committed before the first attempt, so the same in the second
                await cut_short(self.apply(provider, cut, minted=minted), at)
                applied = await self.apply(provider, cut, minted=minted)
                await self.assert_as_applied(provider, cut, applied)
                assert len(await self.owned(provider, cut)) == len(owned), f"cut at {at}/{total.count}: none doubled"
            finally:
                await self.remove(provider, cut)
            await self.assert_gone(provider, cut)

    async def test_remove_clears_an_interrupted_apply_or_removal(self, provider: Provider, ref: ComponentRef) -> None:
        applying, removing = Suspensions(), Suspensions()
        await counted(self.apply(provider, ref), applying)
        await counted(self.remove(provider, ref), removing)
        for at in spread(applying.count, self.cuts):
            cut = self.make_ref()
            await cut_short(self.apply(provider, cut), at)
            await self.remove(provider, cut)
            await self.assert_gone(provider, cut)
        for at in spread(removing.count, self.cuts):
            cut = self.make_ref()
            await self.apply(provider, cut)
            await cut_short(self.remove(provider, cut), at)
            await self.remove(provider, cut)
            await self.assert_gone(provider, cut)

    async def test_a_heartbeat_that_cancels_leaves_what_apply_can_finish(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        async def not_wanted(progress: str) -> None:
            raise asyncio.CancelledError

        minted = self.minted()
        # A provider that is quick enough to need no heartbeat simply succeeds.
        attempt = provider.apply(ref, self.step(self.inputs(0), minted, heartbeat=not_wanted))
        (outcome,) = await asyncio.gather(attempt, return_exceptions=True)
        assert isinstance(outcome, Applied | asyncio.CancelledError), f"a cancellation stays one: {outcome!r}"
        await self.assert_as_applied(provider, ref, await self.apply(provider, ref, minted=minted))

    async def test_concurrent_applies_converge(self, provider: Provider, ref: ComponentRef) -> None:
        minted = self.minted()
        outcomes = await asyncio.gather(
            *(self.apply(provider, ref, minted=minted) for _ in range(2)), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, Applied | Transient), f"a zombie may only be told to wait: {outcome!r}"
        owned = await self.owned(provider, ref)
        applied = await self.apply(provider, ref, minted=minted)
        await self.assert_as_applied(provider, ref, applied)
        if all(isinstance(outcome, Applied) for outcome in outcomes):
            assert await self.owned(provider, ref) == owned, "nothing is doubled"

    async def test_remove_wins_after_a_concurrent_apply(self, provider: Provider, ref: ComponentRef) -> None:
        outcomes = await asyncio.gather(self.apply(provider, ref), self.remove(provider, ref), return_exceptions=True)
        for outcome in outcomes:
            assert outcome is None or isinstance(outcome, Applied | StepFailure), f"an unmapped error: {outcome!r}"
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)

    async def test_scaling_is_seen_and_keeps_the_component(self, provider: Provider, ref: ComponentRef) -> None:
        before, after = self.inputs(0), self.inputs(1)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        if not changed:
            pytest.skip("the type has nothing to scale")
        minted = self.minted()
        first = await self.apply(provider, ref, minted=minted)
        observed = await provider.observe(ref, after)
        assert observed is not None
        assert set(observed.drift) == changed, "compared with other inputs, exactly what differs is named"
        second = await self.apply(provider, ref, 1, minted)
        assert second.external_id == first.external_id
        await self.assert_as_applied(provider, ref, second, 1)

    async def test_data_outlive_apply_and_scaling(self, provider: Provider, ref: ComponentRef) -> None:
        minted = self.minted()
        await self.put(await self.apply(provider, ref, minted=minted), "precious")
        assert await self.get(await self.apply(provider, ref, 0, minted)) == "precious"
        assert await self.get(await self.apply(provider, ref, 1, minted)) == "precious"

    async def test_remove_leaves_nothing_and_may_be_repeated(self, provider: Provider, ref: ComponentRef) -> None:
        await self.remove(provider, ref)  # never existed: success
        await self.apply(provider, ref)
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)

    async def test_nothing_returns_after_removal_and_new_creation(self, provider: Provider, ref: ComponentRef) -> None:
        await self.put(await self.apply(provider, ref), "old")
        await self.remove(provider, ref)
        assert await self.get(await self.apply(provider, ref)) is None

    async def test_other_environments_are_left_alone(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        await self.apply(provider, ref)
        applied = await self.apply(provider, other)
        mine, theirs = await self.owned(provider, ref), await self.owned(provider, other)
        assert not {each.external_id for each in mine} & {each.external_id for each in theirs}
        await self.remove(provider, ref)
        assert await self.owned(provider, other) == theirs
        await self.assert_as_applied(provider, other, applied)

    async def test_components_and_incarnations_of_one_environment_are_apart(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        alike = [
            self.make_ref(environment=ref.environment, incarnation=2),
            self.make_ref("db-1", environment=ref.environment),
            self.make_ref("a" * 24 + "-z", environment=ref.environment, incarnation=999_999),  # the longest name
        ]
        try:
            await self.apply(provider, ref)
            applied = [await self.apply(provider, each) for each in alike]
            await self.remove(provider, ref)
            assert await provider.observe(ref, self.inputs(0)) is None
            for each, result in zip(alike, applied, strict=True):
                await self.assert_as_applied(provider, each, result)
        finally:
            for each in alike:
                await self.remove(provider, each)
        await self.assert_gone(provider, ref)

    async def test_secrets_show_up_nowhere(
        self, provider: Provider, ref: ComponentRef, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        log, minted = LogCapture(), self.minted()
        step = self.step(self.inputs(0), minted, log=make_log(log))
        applied = await provider.apply(ref, step)
        observed = await provider.observe(ref, self.inputs(0))
        owned = await self.owned(provider, ref)
        await provider.remove(ref, step)
        hidden = {*minted.values(), *applied.secrets.values(), *self.credentials.values()}
        for shown in (applied.outputs, applied.external_id, observed, owned, log.entries, caplog.text):
            assert_hidden(repr(shown), hidden)

    async def test_a_password_of_nasty_characters_works(self, provider: Provider, ref: ComponentRef) -> None:
        if not self.component_type.minted:
            pytest.skip("the type has no minted secrets")
        minted = {name: NASTY + value for name, value in self.minted().items()}
        await self.assert_as_applied(provider, ref, await self.apply(provider, ref, minted=minted))

    async def test_another_secret_replaces_the_first(self, provider: Provider, ref: ComponentRef) -> None:
        if not self.component_type.minted:
            pytest.skip("the type has no minted secrets")
        old, new = await self.apply(provider, ref), await self.apply(provider, ref)
        assert new.external_id == old.external_id
        await self.assert_as_applied(provider, ref, new)
        if self.rotation_revokes:
            with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever client `use` takes
                await self.use(old, self.inputs(0))

    async def test_breakage_is_seen_and_mended(self, provider: Provider, ref: ComponentRef) -> None:
        if not self.breakages():
            pytest.skip("the suite names no breakages")
        minted = self.minted()
        for name, damage in self.breakages().items():
            await damage(await self.apply(provider, ref, minted=minted))
            observed = await provider.observe(ref, self.inputs(0))
            assert observed is None or observed.drift, f"{name} is seen as drift"
            await self.assert_as_applied(provider, ref, await self.apply(provider, ref, minted=minted))

    async def test_suspended_keeps_its_data_and_comes_back(self, provider: Provider, ref: ComponentRef) -> None:
        assert isinstance(provider, Suspends) or not self.component_type.suspends, "what a type promises is there"
        if not (isinstance(provider, Suspends) and self.component_type.suspends):
            pytest.skip("the type cannot be suspended")
        minted = self.minted()
        first = await self.apply(provider, ref, minted=minted)
        for _ in range(2):  # already stopped is success
            await provider.suspend(ref, self.step(self.inputs(0), minted))
        assert await provider.observe(ref, self.inputs(0)) is not None, "suspended is not absent"
        assert await self.owned(provider, ref), "and stays in the inventory"
        second = await self.apply(provider, ref, minted=minted)
        assert second.external_id == first.external_id
        await self.assert_as_applied(provider, ref, second)
        await provider.suspend(ref, self.step(self.inputs(0), minted))
        await self.remove(provider, ref)
        await self.assert_gone(provider, ref)

    async def test_a_server_that_is_away_is_waited_for(self, ref: ComponentRef) -> None:
        provider = self.unreachable()
        if provider is None:
            pytest.skip("the suite has no `unreachable`")
        await self.assert_fails(provider, ref, Transient)

    async def test_refused_credentials_wait_for_a_human(self, ref: ComponentRef) -> None:
        provider = self.refused()
        if provider is None:
            pytest.skip("the suite has no `refused`")
        for failure in await self.assert_fails(provider, ref, Blocked):
            assert isinstance(failure, Blocked)
            assert failure.key.count("/") >= 2, "<provider>/<target>/<reason>"
            assert failure.mend

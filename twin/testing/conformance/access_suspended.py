"""What every provider must do about people's access to what is suspended: taking away is for good, and only a grant
lets anybody in again, for an apply does not know who is a member by now."""

from __future__ import annotations

import asyncio

import pytest

from twin.domain.identity import ComponentRef
from twin.ports.provider import Provider, Suspends
from twin.testing.conformance.access_hooks import AccessHooks
from twin.testing.interruption import Suspensions, counted, cut_short, spread


@pytest.mark.asyncio
class SuspendedAccess(AccessHooks):
    """Part of `AccessConformance`."""

    async def test_nobody_enters_what_is_suspended_and_a_grant_after_apply_lets_them_in_again(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        if not (isinstance(provider, Suspends) and self.component_type.suspends):
            pytest.skip("the type cannot be suspended")
        minted, team = self.minted(), self.members(vera="viewer", dan="developer")
        applied = await self.apply(provider, ref, minted=minted)
        given = await self.grant(provider, ref, *team)
        async with self.session(applied, given["dan"]) as session:
            await session.write("before")
            await provider.suspend(ref, self.step(self.inputs(0), minted))
            await session.ended()
        for each in given.values():
            await self.assert_refused(applied, each)
        applied = await self.apply(provider, ref, minted=minted)
        for each in given.values():
            await self.assert_refused(applied, each)
        assert await self.grant(provider, ref, *team) == given
        for each in given.values():
            async with self.session(applied, each) as session:
                assert await session.read() == "before"
        await self.assert_as_applied(provider, ref, applied)

    async def test_who_is_removed_while_it_is_suspended_never_enters_again(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        """Somebody tries all the while with what they had; a resumption and its repetition are cut short."""
        if not (isinstance(provider, Suspends) and self.component_type.suspends):
            pytest.skip("the type cannot be suspended")
        minted, total = self.minted(), Suspensions()
        leaving, staying = self.members(anna="developer", ben="developer")
        applied = await self.apply(provider, ref, minted=minted)
        given = await self.grant(provider, ref, leaving, staying)
        async with self.session(applied, given["anna"]) as session:
            await session.write("before")
        await provider.suspend(ref, self.step(self.inputs(0), minted))
        entered, tries, over, turn = 0, 0, asyncio.Event(), asyncio.Semaphore(0)

        async def try_again_and_again() -> None:
            nonlocal entered, tries
            while not over.is_set():
                try:
                    async with self.session(applied, given["anna"]):
                        entered += 1
                except Exception:  # whatever is said: they are not in
                    tries += 1
                turn.release()
                await asyncio.sleep(0)

        trying = asyncio.create_task(try_again_and_again())
        try:
            first = await self.grant(provider, ref, staying)
            assert first == {"ben": given["ben"]}, "who stays keeps what they have"
            await self.assert_refused(applied, given["ben"])
            await counted(provider.apply(ref, self.step(self.inputs(0), minted)), total)
            for at in spread(total.count, 2):
                await provider.suspend(ref, self.step(self.inputs(0), minted))
                await cut_short(provider.apply(ref, self.step(self.inputs(0), minted)), at)
                await self.grant(provider, ref, staying)
                applied = await self.apply(provider, ref, minted=minted)
            for _ in range(tries + entered + 2):  # the last word is the server's, once all is open
                await asyncio.wait_for(turn.acquire(), 30)
        finally:
            over.set()
            await trying
        assert entered == 0, f"they got in {entered} times, and {tries} times not"
        await self.grant(provider, ref, staying)
        async with self.session(applied, given["ben"]) as session:
            await session.write("resumed")
        await self.assert_refused(applied, given["anna"])
        await self.assert_as_applied(provider, ref, applied)

    async def test_who_was_not_removed_in_time_is_not_let_in_by_an_apply(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        """A resumption may come before the removal: it is the grant that lets in, and it names who is a member."""
        if not (isinstance(provider, Suspends) and self.component_type.suspends):
            pytest.skip("the type cannot be suspended")
        minted, (leaving, staying) = self.minted(), self.members(anna="developer", ben="developer")
        await self.apply(provider, ref, minted=minted)
        given = await self.grant(provider, ref, leaving, staying)
        await provider.suspend(ref, self.step(self.inputs(0), minted))
        for n in (0, 1, 0):
            applied = await self.apply(provider, ref, n, minted)
            for each in given.values():
                await self.assert_refused(applied, each)
        assert set(await self.grant(provider, ref, staying)) == {"ben"}
        await self.assert_refused(applied, given["anna"])
        async with self.session(applied, given["ben"]):
            pass

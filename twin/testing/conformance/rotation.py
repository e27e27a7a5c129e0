"""What every provider that rotates credentials must do, proven against its real server.

A provider's author mixes it into the suite of the type and fills in two hooks:

    class TestDatabase(ProviderConformance, RotationConformance):
        def is_refusal(self, error):                        # the server does not take the credential
            return isinstance(error, InvalidPassword)

        @asynccontextmanager
        async def session(self, applied):                   # one connection, which never reconnects
            async with connect(applied.secrets["url"]) as connection:
                yield partial(connection.execute, "SELECT 1")

A *late* call is one of a worker that lost its lease: it carries what was live when it began.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from structlog.testing import LogCapture

from twin.domain.errors import StepFailure, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, Provider, RotatesCredentials, Suspends
from twin.testing.conformance.provider import NASTY
from twin.testing.conformance.provider_hooks import ProviderHooks, assert_hidden
from twin.testing.conformance.rotation_client import Client, Credentials, OpenSession
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_log


@pytest.mark.asyncio
class RotationConformance(ProviderHooks):
    """Mix it into a subclass of `ProviderConformance`."""

    remembers_retired: ClassVar[bool] = True
    """Whether a late apply brings no retired credential back. The engine fences; this is the second line."""

    @abstractmethod
    def is_refusal(self, error: Exception) -> bool:
        """Whether the server refused the credential, as opposed to a connection that broke or was closed."""

    @abstractmethod
    def session(self, applied: Applied) -> OpenSession:
        """A connection with this credential, as a context manager; what it gives asks the server something over that
        very connection and raises once that has ended."""

    def rotating(self, provider: Provider, ref: ComponentRef) -> Credentials:
        """The component's credentials, as the twin keeps them."""
        assert isinstance(provider, RotatesCredentials), "what a type promises is there"
        return Credentials(self, provider, ref)

    async def is_valid(self, applied: Applied) -> bool:
        """Whether the server takes the credential; any other trouble is raised."""
        try:
            await self.use(applied, self.inputs(0))
        except Exception as error:
            if self.is_refusal(error):
                return False
            raise
        return True

    async def assert_valid(self, ours: Credentials, *versions: int) -> None:
        """Of all that were ever given out, exactly these work."""
        valid = {version for version, applied in ours.applied.items() if await self.is_valid(applied)}
        assert valid == set(versions)

    # --- issue ---

    async def test_the_type_says_that_it_rotates(self, provider: Provider) -> None:
        assert isinstance(provider, RotatesCredentials)
        assert self.component_type.rotates_with(self.inputs(0))

    async def test_issue_makes_the_new_valid_beside_the_old(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        old = await ours.create()
        async with self.session(old) as ask:
            new = await ours.issue(2)
            await ask()  # who is connected notices nothing
        await self.assert_valid(ours, 1, 2)
        assert new.external_id == old.external_id, "it is the same component"
        assert set(new.outputs) == set(self.component_type.outputs)
        assert set(new.secrets) == set(self.component_type.secrets)
        assert not set(new.secrets.values()) & set(old.secrets.values()), "of the old one, nothing gives away the new"
        await self.assert_as_applied(provider, ref, new)

    async def test_issue_twice_is_one(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        await ours.create()
        first = await ours.issue(2)
        owned = await self.owned(provider, ref)
        async with self.session(first) as ask:
            second = await ours.issue(2)
            await ask()
        assert (second.outputs, second.secrets) == (first.outputs, first.secrets)
        assert await self.owned(provider, ref) == owned, "nothing is doubled"
        await self.assert_valid(ours, 1, 2)

    async def test_an_interrupted_issue_converges_and_never_ends_the_old(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        total, measured = Suspensions(), self.rotating(provider, ref)
        await measured.create()
        await counted(measured.issue(2), total)
        owned = len(await self.owned(provider, ref))
        for at in spread(total.count, self.cuts):
            cut = self.make_ref()
            try:
                ours = self.rotating(provider, cut)
                await ours.create()
                await cut_short(ours.issue(2), at)
                assert await self.is_valid(ours.applied[1]), f"cut at {at}/{total.count}: never none"
                await ours.issue(2)
                await self.assert_valid(ours, 1, 2)
                assert len(await self.owned(provider, cut)) == owned, f"cut at {at}/{total.count}: none doubled"
            finally:
                await self.remove(provider, cut)

    async def test_a_new_secret_of_nasty_characters_works(self, provider: Provider, ref: ComponentRef) -> None:
        if not self.component_type.minted:
            pytest.skip("the type has no minted secrets")
        ours = self.rotating(provider, ref)
        await ours.create()
        ours.known[2] = {name: NASTY + value for name, value in self.minted().items()}
        await ours.issue(2)
        await self.assert_valid(ours, 1, 2)

    # --- apply between issue and retire ---

    async def test_apply_with_both_keeps_both(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        old, new = await ours.create(), await ours.issue(2)
        async with self.session(old) as ask_old, self.session(new) as ask_new:
            applied = await ours.apply(1, 2)
            await ask_old()
            await ask_new()
        assert applied.secrets == new.secrets, "the newest is the one that is given out"
        await self.assert_valid(ours, 1, 2)
        await self.assert_as_applied(provider, ref, applied)

    @pytest.mark.parametrize("late", [1, 2])
    async def test_apply_with_one_of_two_ends_no_other(self, provider: Provider, ref: ComponentRef, late: int) -> None:
        ours = self.rotating(provider, ref)
        old, new = await ours.create(), await ours.issue(2)
        async with self.session(old) as ask_old, self.session(new) as ask_new:
            await ours.apply(late)
            await ask_old()
            await ask_new()
        await self.assert_valid(ours, 1, 2)

    async def test_scaling_between_issue_and_retire_keeps_both(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        old, new = await ours.create(), await ours.issue(2)
        await self.assert_as_applied(provider, ref, await ours.apply(1, 2, n=1), 1)
        await self.use(old, self.inputs(1))
        await self.use(new, self.inputs(1))

    async def test_issue_beside_a_late_apply_leaves_both(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        await ours.create()
        for outcome in await asyncio.gather(ours.issue(2), ours.apply(1), return_exceptions=True):
            assert isinstance(outcome, Applied | Transient), f"one may only be told to wait: {outcome!r}"
        new = await ours.issue(2)
        await self.assert_valid(ours, 1, 2)
        await self.assert_as_applied(provider, ref, new)

    async def test_both_come_back_from_suspended(self, provider: Provider, ref: ComponentRef) -> None:
        if not (isinstance(provider, Suspends) and self.component_type.suspends):
            pytest.skip("the type cannot be suspended")
        ours = self.rotating(provider, ref)
        await ours.create()
        await ours.issue(2)
        await provider.suspend(ref, ours.step(1, 2))
        await self.assert_valid(ours)
        await ours.apply(1, 2)
        await self.assert_valid(ours, 1, 2)

    # --- retire ---

    async def test_retire_ends_exactly_the_old_one_and_its_sessions(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        ours = self.rotating(provider, ref)
        old = await ours.create()
        owned = len(await self.owned(provider, ref))
        new = await ours.issue(2)
        async with self.session(new) as ask_new:
            with suppress(Exception):  # a client may complain on closing what the server has ended
                async with self.session(old) as ask_old:
                    await ours.retire(1, live=(2,))
                    assert not await self.is_valid(old), "refused from the moment on that retire returns"
                    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever client `session` takes
                        await ask_old()
            await ask_new()  # no needless cut
        await self.assert_valid(ours, 2)
        await self.assert_as_applied(provider, ref, new)
        assert len(await self.owned(provider, ref)) == owned, "nothing of the old one is left"

    async def test_retire_may_be_repeated(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        await ours.create()
        await ours.issue(2)
        for _ in range(2):
            await ours.retire(1, live=(2,))
        await self.assert_valid(ours, 2)
        ours.known[3] = self.minted()  # was to be issued, and never was
        await ours.retire(3, live=(2,))
        await self.assert_valid(ours, 2)

    async def test_an_interrupted_retire_converges_and_never_ends_the_new(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        total, measured = Suspensions(), self.rotating(provider, ref)
        await measured.create()
        await measured.issue(2)
        await counted(measured.retire(1, live=(2,)), total)
        owned = len(await self.owned(provider, ref))
        for at in spread(total.count, self.cuts):
            cut = self.make_ref()
            try:
                ours = self.rotating(provider, cut)
                await ours.create()
                await ours.issue(2)
                await cut_short(ours.retire(1, live=(2,)), at)
                assert await self.is_valid(ours.applied[2]), f"cut at {at}/{total.count}: never none"
                await ours.retire(1, live=(2,))
                await self.assert_valid(ours, 2)
                assert len(await self.owned(provider, cut)) == owned, f"cut at {at}/{total.count}: nothing is left"
            finally:
                await self.remove(provider, cut)

    async def test_a_late_apply_brings_no_retired_one_back(self, provider: Provider, ref: ComponentRef) -> None:
        if not self.remembers_retired:
            pytest.skip("the provider leaves this to the engine's fencing")
        ours = self.rotating(provider, ref)
        await ours.create()
        new = await ours.issue(2)
        await ours.retire(1, live=(2,))
        for late in ((1,), (1, 2)):
            with suppress(StepFailure):  # it may be told that it is late
                await ours.apply(*late)
        await self.assert_valid(ours, 2)
        await self.assert_as_applied(provider, ref, new)

    # --- all of it ---

    async def test_one_after_another_there_are_never_three_and_never_none(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        ours = self.rotating(provider, ref)
        await ours.create()
        owned = len(await self.owned(provider, ref))
        for old, new in ((1, 2), (2, 3), (3, 4)):  # by the third, whoever has two places has used each of them twice
            applied = await ours.issue(new)
            await self.assert_valid(ours, old, new)
            await ours.apply(old, new)
            await self.assert_valid(ours, old, new)
            await ours.retire(old, live=(new,))
            await self.assert_valid(ours, new)
            await ours.apply(new)
            await self.assert_valid(ours, new)
            await self.assert_as_applied(provider, ref, applied)
            assert len(await self.owned(provider, ref)) == owned, "a rotation leaves nothing behind"

    async def test_data_outlive_a_rotation(self, provider: Provider, ref: ComponentRef) -> None:
        ours = self.rotating(provider, ref)
        await self.put(await ours.create(), "precious")
        new = await ours.issue(2)
        assert await self.get(new) == "precious", "both see the same"
        await self.put(new, "of the new one")
        assert await self.get(ours.applied[1]) == "of the new one"
        await ours.retire(1, live=(2,))
        assert await self.get(new) == "of the new one"

    async def test_remove_clears_a_half_rotation(self, provider: Provider, ref: ComponentRef) -> None:
        issuing, retiring, measured = Suspensions(), Suspensions(), self.rotating(provider, ref)
        await measured.create()
        await counted(measured.issue(2), issuing)
        await counted(measured.retire(1, live=(2,)), retiring)

        async def removed(half: Coroutine[Any, Any, Any], ours: Credentials, at: int) -> None:
            await cut_short(half, at)
            await self.remove(provider, ours.ref)
            await self.assert_gone(provider, ours.ref)
            for applied in ours.applied.values():
                with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever client `use` takes
                    await self.use(applied, self.inputs(0))

        for at in spread(issuing.count, self.cuts):
            ours = self.rotating(provider, self.make_ref())
            await ours.create()
            await removed(ours.issue(2), ours, at)
        for at in spread(retiring.count, self.cuts):
            ours = self.rotating(provider, self.make_ref())
            await ours.create()
            await ours.issue(2)
            await removed(ours.retire(1, live=(2,)), ours, at)

    async def test_rotated_secrets_show_up_nowhere(
        self, provider: Provider, ref: ComponentRef, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        log = LogCapture()
        ours = self.rotating(provider, ref)
        ours.log = make_log(log)
        await ours.create()
        new = await ours.issue(2)
        shown = [await provider.observe(ref, self.inputs(0)), await self.owned(provider, ref)]
        await ours.retire(1, live=(2,))
        shown += [await provider.observe(ref, self.inputs(0)), await self.owned(provider, ref)]
        hidden = {*self.credentials.values(), *(value for known in ours.known.values() for value in known.values())}
        for each in (*shown, new.outputs, new.external_id, log.entries, caplog.text):
            assert_hidden(repr(each), hidden)

    async def test_who_reconnects_in_a_loop_is_never_refused(self, provider: Provider, ref: ComponentRef) -> None:
        issuing, retiring, measured = Suspensions(), Suspensions(), self.rotating(provider, ref)
        await measured.create()
        await counted(measured.issue(2), issuing)
        await counted(measured.retire(1, live=(2,)), retiring)

        app = self.make_ref()
        ours = self.rotating(provider, app)
        try:
            async with Client(self.session, self.is_refusal, await ours.create()) as client:
                for old, new in ((1, 2), (2, 3)):
                    await client.served()
                    assert await cut_short(ours.issue(new), 1 + issuing.count // 2), "a crash in the middle"
                    await client.served()
                    client.current = await ours.issue(new)
                    await client.served()  # whatever the app began with the old one has ended
                    assert await cut_short(ours.retire(old, live=(new,)), 1 + retiring.count // 2)
                    await client.served()
                    await ours.retire(old, live=(new,))
                    await client.served()
                    await self.assert_valid(ours, new)
            assert client.refused == [], "a failed authentication"
            assert client.broken == [], "a needless cut"
        finally:
            await self.remove(provider, app)

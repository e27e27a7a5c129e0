"""What every provider must do that gives people access of their own, proven against its real server.

Its author writes, beside the suite of `provider.py`:

    class TestDatabaseAccess(AccessConformance):
        component_type, provider, inputs, use, put, get     # as there; `put` and `get` are needed here

        async def enter(self, applied, secrets):             # a Session of a real client, or PermissionError
            ...

        async def trespass(self, applied, secrets, other):   # what a member finds of another component's value
            ...
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import pytest
from structlog.testing import LogCapture

from twin.domain.identity import ComponentRef
from twin.ports.provider import Applied, GrantsAccess, Provider, RotatesCredentials
from twin.testing.conformance.access_suspended import SuspendedAccess
from twin.testing.conformance.provider_hooks import assert_hidden
from twin.testing.interruption import Suspensions, counted, cut_short, spread
from twin.testing.steps import make_log

ODD = (
    "o'hara@example.com",
    "o-hara@example.com",
    "O'Hara@example.com",
    "zoë.müller@exämple.com",
    "李小龍",
    "🦊",
    'a "quoted" \\ name; DROP ROLE twin -- ${x} $y `z`',
    "*",
    ">",
    "~* &* +@all",
    "twin",
    "2",
    "x" * 300 + "1",
    "x" * 300 + "2",
)
"""Names of people: alike, long, in any script, and with characters that break whoever quotes by hand."""


@pytest.mark.asyncio
class AccessConformance(SuspendedAccess):
    """Subclass it as `Test…Access`, with a fixture `provider`."""

    grant_cuts: ClassVar[int] = 6
    """At how many points a grant is interrupted."""

    @abstractmethod
    async def trespass(self, applied: Applied, secrets: Mapping[str, str], other: Applied) -> str | None:
        """Try, as a member of `applied`, to get at the value that `put` stored in `other`, by whatever way the server
        leaves open: the value, or None or PermissionError."""

    async def test_the_type_says_that_it_grants(self, provider: Provider) -> None:
        assert self.component_type.grants
        assert isinstance(provider, GrantsAccess)

    async def test_members_can_do_what_their_role_allows_and_no_more(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        applied = await self.apply(provider, ref)
        await self.put(applied, "by the application")
        team = self.members(vera="viewer", dan="developer", olga="operator", ada="admin")
        given = await self.grant(provider, ref, *team)
        assert set(given) == {member.name for member in team}
        for name in ("dan", "olga", "ada"):
            async with self.session(applied, given[name]) as session:
                assert await session.read() is not None
                await session.write(f"by {name}")
                assert await session.read() == f"by {name}"
            assert await self.get(applied) == f"by {name}", "the application finds what members write"
        async with self.session(applied, given["vera"]) as session:
            assert await session.read() == "by ada"
            with pytest.raises(PermissionError):
                await session.write("by vera")
        assert await self.get(applied) == "by ada", "and nothing was written"
        await self.assert_as_applied(provider, ref, applied)

    async def test_granting_again_changes_nothing(self, provider: Provider, ref: ComponentRef) -> None:
        applied, team = await self.apply(provider, ref), self.members(vera="viewer", dan="developer")
        first, owned = await self.grant(provider, ref, *team), await self.owned(provider, ref)
        async with self.session(applied, first["dan"]) as session:
            assert await self.grant(provider, ref, *reversed(team)) == first
            await session.write("still here")
        assert await self.owned(provider, ref) == owned, "nothing is doubled"
        await self.assert_as_applied(provider, ref, applied)

    async def test_exactly_the_named_have_access(self, provider: Provider, ref: ComponentRef) -> None:
        applied = await self.apply(provider, ref)
        anna, ben, cleo = self.members(anna="developer", ben="developer", cleo="viewer")
        first = await self.grant(provider, ref, anna, ben)
        async with self.session(applied, first["anna"]) as leaving, self.session(applied, first["ben"]) as staying:
            second = await self.grant(provider, ref, ben, cleo)
            assert set(second) == {"ben", "cleo"}
            await leaving.ended()
            await self.assert_refused(applied, first["anna"])
            await staying.write("undisturbed")
            async with self.session(applied, second["cleo"]) as new:
                assert await new.read() == "undisturbed"
            assert await self.grant(provider, ref) == {}
            await staying.ended()
        for each in (first["anna"], second["ben"], second["cleo"]):
            await self.assert_refused(applied, each)
        assert await self.get(applied) == "undisturbed", "what a member wrote stays"
        await self.assert_as_applied(provider, ref, applied)
        (back,) = (await self.grant(provider, ref, anna)).values()
        async with self.session(applied, back) as session:
            await session.write("welcome back")

    async def test_another_role_is_applied_also_to_who_is_connected(
        self, provider: Provider, ref: ComponentRef
    ) -> None:
        applied, (member,) = await self.apply(provider, ref), self.members(kim="viewer")
        await self.put(applied, "first")
        viewer = (await self.grant(provider, ref, member))["kim"]
        developer = (await self.grant(provider, ref, self.as_role(member, "developer")))["kim"]
        assert developer == viewer, "the same person with the same password"
        async with self.session(applied, developer) as session:
            await session.write("as developer")
            await self.grant(provider, ref, member)
            with pytest.raises((PermissionError, OSError, EOFError)):  # refused, or the connection has ended
                await session.write("as viewer")
        async with self.session(applied, viewer) as session:
            assert await session.read() == "as developer"
            with pytest.raises(PermissionError):
                await session.write("as viewer")
        assert await self.get(applied) == "as developer"

    async def test_another_password_ends_the_old_one(self, provider: Provider, ref: ComponentRef) -> None:
        applied, (old,), (new,) = (
            await self.apply(provider, ref),
            self.members(kim="viewer"),
            self.members(kim="viewer"),
        )
        before = (await self.grant(provider, ref, old))["kim"]
        async with self.session(applied, before) as session:
            after = (await self.grant(provider, ref, new))["kim"]
            await session.ended()
        await self.assert_refused(applied, before)
        async with self.session(applied, after):
            pass

    async def test_interrupted_grants_converge(self, provider: Provider, ref: ComponentRef) -> None:
        applied, total = await self.apply(provider, ref), Suspensions()
        anna, ben, cleo = self.members(anna="developer", ben="viewer", cleo="developer")
        before = await self.grant(provider, ref, anna, ben)
        after = await counted(self.grant(provider, ref, self.as_role(ben, "developer"), cleo), total)
        for at in spread(total.count, self.grant_cuts):
            await self.grant(provider, ref, anna, ben)
            await cut_short(self.grant(provider, ref, self.as_role(ben, "developer"), cleo), at)
            again = await self.grant(provider, ref, self.as_role(ben, "developer"), cleo)
            assert again == after, f"cut at {at}/{total.count}"
            await self.assert_refused(applied, before["anna"])
            for each in again.values():
                async with self.session(applied, each) as session:
                    await session.write(f"cut at {at}")
            await self.assert_as_applied(provider, ref, applied)

    async def test_concurrent_grants_converge(self, provider: Provider, ref: ComponentRef) -> None:
        applied, team = await self.apply(provider, ref), self.members(anna="developer", ben="viewer")
        await asyncio.gather(*(self.grant(provider, ref, *team) for _ in range(2)), return_exceptions=True)
        for each in (await self.grant(provider, ref, *team)).values():
            async with self.session(applied, each):
                pass

    async def test_apply_and_scaling_leave_members_alone(self, provider: Provider, ref: ComponentRef) -> None:
        minted, (member,) = self.minted(), self.members(dan="developer")
        applied = await self.apply(provider, ref, minted=minted)
        mine = (await self.grant(provider, ref, member))["dan"]
        async with self.session(applied, mine) as session:
            for n in (0, 1):
                applied = await self.apply(provider, ref, n, minted)
            await session.write("still connected")
        async with self.session(applied, mine) as session:
            assert await session.read() == "still connected"

    async def test_rotation_leaves_members_alone(self, provider: Provider, ref: ComponentRef) -> None:
        if not (isinstance(provider, RotatesCredentials) and self.component_type.rotates):
            pytest.skip("the type does not rotate")
        old, new, (member,) = self.minted(), self.minted(), self.members(dan="developer")
        applied = await provider.apply(ref, self.step(self.inputs(0), old, credentials={1: old}))
        mine = (await self.grant(provider, ref, member))["dan"]
        async with self.session(applied, mine) as session:
            applied = await provider.issue(ref, self.step(self.inputs(0), new, credentials={1: old, 2: new}))
            await session.write("beside two")
            await provider.retire(ref, self.step(self.inputs(0), new, credentials={2: new}), 1, old)
            await session.write("beside the newest")
        async with self.session(applied, mine):
            pass
        assert await self.get(applied) == "beside the newest"

    async def test_removal_ends_all_access_and_leaves_nothing(self, provider: Provider, ref: ComponentRef) -> None:
        applied, team = await self.apply(provider, ref), self.members(vera="viewer", dan="developer")
        given = await self.grant(provider, ref, *team)
        async with self.session(applied, given["vera"]) as viewer, self.session(applied, given["dan"]) as developer:
            await self.remove(provider, ref)
            await viewer.ended()
            await developer.ended()
        await self.assert_gone(provider, ref)
        for each in given.values():
            await self.assert_refused(applied, each)
        applied = await self.apply(provider, ref)
        for each in given.values():
            await self.assert_refused(applied, each)

    async def test_members_of_one_component_cannot_enter_another(
        self, provider: Provider, ref: ComponentRef, other: ComponentRef
    ) -> None:
        sister = self.make_ref("sister", environment=ref.environment)
        mine = await self.apply(provider, ref)
        try:
            for each in (other, sister):
                theirs = await self.apply(provider, each)
                await self.put(theirs, "not for you")
                here, there = self.members(kim="admin"), self.members(kim="admin")  # the same person in both
                given = (await self.grant(provider, ref, *here))["kim"]
                await self.grant(provider, each, *there)
                try:
                    found = await self.trespass(mine, given, theirs)
                except PermissionError:
                    found = None
                assert found is None, "a member found what is in another component"
                await self.grant(provider, each)
                async with self.session(mine, given) as session:
                    await session.write("access here does not hang on access there")
                assert await self.get(theirs) == "not for you"
        finally:
            await self.remove(provider, sister)

    async def test_names_of_any_characters_work(self, provider: Provider, ref: ComponentRef) -> None:
        applied = await self.apply(provider, ref)
        team = [self.member(name, "developer" if n % 2 else "viewer") for n, name in enumerate(ODD)]
        given = await self.grant(provider, ref, *team)
        assert set(given) == set(ODD)
        assert len({each["url"] for each in given.values()}) == len(ODD)
        await self.put(applied, "for all")
        for member in team:
            async with self.session(applied, given[member.name]) as session:
                assert await session.read() is not None, member.name
                if member.role == "developer":
                    await session.write("by a developer")
        kept = [team[0], team[-1]]
        await self.grant(provider, ref, *kept)
        for member in team[1:-1]:
            await self.assert_refused(applied, given[member.name])
        for member in kept:
            async with self.session(applied, given[member.name]):
                pass

    async def test_secrets_of_members_show_up_nowhere(
        self, provider: Provider, ref: ComponentRef, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        log, heard = LogCapture(), list[str]()

        async def heartbeat(progress: str) -> None:
            heard.append(progress)

        assert isinstance(provider, GrantsAccess)
        await self.apply(provider, ref)
        team = self.members(vera="viewer", dan="developer")
        step = self.step(self.inputs(0), {}, log=make_log(log), heartbeat=heartbeat)
        given = await provider.grant(ref, step, tuple(team))
        observed, owned = await provider.observe(ref, self.inputs(0)), await self.owned(provider, ref)
        hidden = {*self.credentials.values()}
        for each in (*given.values(), *(member.secrets for member in team)):
            hidden |= set(each.values())
        for shown in (list(given), observed, owned, log.entries, caplog.text, heard):
            assert_hidden(repr(shown), hidden)

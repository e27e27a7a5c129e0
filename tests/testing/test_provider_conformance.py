"""The suite itself: a provider in memory that is right passes it, and each kind of wrong one does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from twin.domain.component_type import SCALABLE, ComponentType
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.ports.provider import Applied, Observed, Provider, Resource, StepContext
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.interruption import Suspensions, counted, cut_short, spread

SHELF = ComponentType(
    name="memory.shelf",
    provider="memory",
    schema={"properties": {"size": {"type": "integer", **SCALABLE}}},
    secrets=("key",),
    outputs=("size",),
    minted=("password",),
    suspends=True,
)


class Shelves:
    """A provider whose world is a dictionary, with suspensions at which it can be cut."""

    def __init__(self) -> None:
        self.world: dict[str, dict[str, Any]] = {}

    async def identify(self) -> Placement:
        return Placement("memory/local", "memory:", "shelves-1")

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        shelf = self.world.get(ref.name)
        if shelf is None:
            return None
        drift = {} if shelf.get("size") == inputs["size"] else {"size": f"is {shelf.get('size')}"}
        return Observed(external_id=ref.name, outputs={"size": shelf.get("size")}, drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        await asyncio.sleep(0)
        shelf = self.world.setdefault(ref.name, {"mark": ref.environment, "data": {}})
        await step.heartbeat("made")
        await asyncio.sleep(0)
        shelf.update(size=step.inputs["size"], key=step.secrets["password"], on=True)
        return Applied(
            external_id=ref.name, outputs={"size": shelf["size"]}, secrets={"key": f"{ref.name}={shelf['key']}"}
        )

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        await asyncio.sleep(0)
        self.world.pop(ref.name, None)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        self.world[ref.name]["on"] = False

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        for name, shelf in list(self.world.items()):
            if shelf["mark"] == environment:
                yield Resource(kind="shelf", external_id=name)

    async def close(self) -> None:
        pass


class TestShelves(ProviderConformance):
    component_type = SHELF
    shelves: Shelves

    @pytest.fixture
    async def provider(self) -> Provider:
        self.shelves = Shelves()
        return self.shelves

    def inputs(self, n: int) -> dict[str, Any]:
        return {"size": 1 + n}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        shelf = self.shelves.world[applied.external_id]
        assert shelf["on"]
        assert applied.secrets["key"].split("=", 1)[1] == shelf["key"]

    async def put(self, applied: Applied, value: str) -> None:
        self.shelves.world[applied.external_id]["data"]["value"] = value

    async def get(self, applied: Applied) -> str | None:
        return self.shelves.world[applied.external_id]["data"].get("value")

    def breakages(self):
        async def shrink(applied: Applied) -> None:
            self.shelves.world[applied.external_id]["size"] = 0

        return {"shrink": shrink}


class Doubling(Shelves):
    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        self.world[f"{ref.name}_{len(self.world)}"] = {"mark": ref.environment}
        return await super().apply(ref, step)


class Forgetful(Shelves):
    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        self.world.pop(ref.name, None)
        return await super().apply(ref, step)


class HalfDone(Shelves):
    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        if ref.name in self.world:  # "exists, so it is complete"
            return Applied(external_id=ref.name, secrets={"key": f"={step.secrets['password']}"})
        return await super().apply(ref, step)


class Blind(Shelves):
    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        observed = await super().observe(ref, inputs)
        return observed and Observed(external_id=observed.external_id)


class Greedy(Shelves):
    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        self.world.clear()


class Talkative(Shelves):
    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        step.log.info("applying", secrets=dict(step.secrets))
        return await super().apply(ref, step)


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        (Doubling, TestShelves.test_apply_again_changes_nothing),
        (Forgetful, TestShelves.test_data_outlive_apply_and_scaling),
        (HalfDone, TestShelves.test_apply_converges_from_an_interrupted_attempt),
        (Blind, TestShelves.test_breakage_is_seen_and_mended),
        (Blind, TestShelves.test_scaling_is_seen_and_keeps_the_component),
        (Greedy, TestShelves.test_other_environments_are_left_alone),
    ],
)
async def test_a_wrong_provider_is_found_out(wrong: type[Shelves], finding: Callable[..., Awaitable[None]]) -> None:
    suite = TestShelves()
    suite.shelves = wrong()
    refs = [suite.make_ref() for _ in range(finding.__code__.co_argcount - 2)]
    with pytest.raises((AssertionError, KeyError)):
        await finding(suite, suite.shelves, *refs)


async def test_a_secret_in_the_log_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    suite = TestShelves()
    suite.shelves = Talkative()
    with pytest.raises(AssertionError, match="a secret is shown"):
        await suite.test_secrets_show_up_nowhere(suite.shelves, suite.make_ref(), caplog)


async def test_a_cut_is_a_cancellation_at_exactly_that_suspension() -> None:
    done: list[int] = []

    async def work() -> None:
        for step in range(5):
            await asyncio.sleep(0)
            done.append(step)

    total = Suspensions()
    await counted(work(), total)
    assert total.count == 5
    done.clear()
    assert await cut_short(work(), 3)
    assert done == [0, 1]
    assert not await cut_short(work(), 9), "it ended before"


async def test_a_swallowed_cancellation_is_a_finding() -> None:
    async def deaf() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="swallowed"):
        await cut_short(deaf(), 1)


def test_points_are_spread_from_first_to_last() -> None:
    assert spread(3, 6) == (1, 2, 3)
    assert spread(100, 4) == (1, 34, 67, 100)

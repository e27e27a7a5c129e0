"""Replicas that an update has replaced: they serve on beside the new ones, until they are drained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from providers.process.provider import ProcessProvider
from tests.providers.process_world import apps, ask, bundle, open_provider, processes, step
from twin.domain.identity import ComponentRef
from twin.testing.steps import make_ref


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
async def provider(directory: Path) -> AsyncIterator[ProcessProvider]:
    provider = open_provider(directory)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: ProcessProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("app", type="process.service")
    yield ref
    await provider.remove(ref, step({"stop_grace": 0}))
    assert processes(ref.name) == []


def inputs(word: str, replicas: int = 2) -> dict[str, Any]:
    return {"replicas": replicas, "env": {"WORD": word}, "stop_grace": 2}


def sources(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("sources/*") if path.is_dir()]


async def test_old_replicas_serve_until_they_are_drained(
    provider: ProcessProvider, ref: ComponentRef, directory: Path
) -> None:
    first = await provider.apply(ref, step(inputs("old"), used=True))
    assert not first.lingers, "at first there is nothing to replace"
    second = await provider.apply(ref, step(inputs("new"), content=bundle({"more": "x"}), digest="b2", used=True))
    assert second.lingers
    assert not set(first.outputs["ports"]) & set(second.outputs["ports"])
    for applied, word in ((first, "old"), (second, "new")):
        for url in applied.outputs["urls"]:
            assert ask(url)["env"]["WORD"] == word
    observed = await provider.observe(ref, inputs("new"))
    assert observed is not None
    assert observed.drift == {}, "that there are twice as many is as it should be"
    assert observed.outputs == second.outputs
    again = await provider.apply(ref, step(inputs("new"), content=bundle({"more": "x"}), digest="b2", used=True))
    assert (again.lingers, again.outputs) == (True, second.outputs), "a repetition ends nothing"

    for _ in range(2):  # nothing left of it is success
        await provider.drain(ref, step(inputs("new")))
        assert {app.environ()["WORD"] for app in apps(ref.name)} == {"new"}
        assert len(apps(ref.name)) == 2
        assert ask(second.outputs["url"])["env"]["WORD"] == "new"
    assert len(sources(directory)) == 1, "the old source went with those that ran from it"
    observed = await provider.observe(ref, inputs("new"))
    assert observed is not None
    assert (observed.drift, observed.outputs) == ({}, second.outputs)


async def test_what_was_scaled_away_serves_until_it_is_drained(provider: ProcessProvider, ref: ComponentRef) -> None:
    first = await provider.apply(ref, step(inputs("a", 3), used=True))
    fewer = await provider.apply(ref, step(inputs("a", 1), used=True))
    assert fewer.lingers
    assert ask(first.outputs["urls"][2])["env"]["REPLICA"] == "2"
    await provider.drain(ref, step(inputs("a", 1)))
    assert [app.environ()["REPLICA"] for app in apps(ref.name)] == ["0"]
    more = await provider.apply(ref, step(inputs("a", 3), used=True))
    assert not more.lingers


async def test_several_versions_end_together_and_one_that_is_back_stays(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    first = await provider.apply(ref, step(inputs("a", 1), used=True))
    for word in ("b", "c"):
        assert (await provider.apply(ref, step(inputs(word, 1), used=True))).lingers
    back = await provider.apply(ref, step(inputs("a", 1), used=True))
    assert back.outputs == first.outputs, "it never ended"
    await provider.drain(ref, step(inputs("a", 1)))
    assert [app.environ()["WORD"] for app in apps(ref.name)] == ["a"]


async def test_a_dead_one_among_the_current_is_drift_although_old_ones_serve(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    await provider.apply(ref, step(inputs("old", 1), used=True))
    await provider.apply(ref, step(inputs("new", 1), used=True))
    (victim,) = [app for app in apps(ref.name) if app.environ()["WORD"] == "new"]
    victim.kill()
    victim.wait(10)
    observed = await provider.observe(ref, inputs("new", 1))
    assert observed is not None
    assert "replicas" in observed.drift
    mended = await provider.apply(ref, step(inputs("new", 1), used=True))
    assert mended.lingers
    assert ask(mended.outputs["url"])["env"]["WORD"] == "new"


async def test_suspending_ends_the_old_too(provider: ProcessProvider, ref: ComponentRef) -> None:
    await provider.apply(ref, step(inputs("old", 1), used=True))
    await provider.apply(ref, step(inputs("new", 1), used=True))
    await provider.suspend(ref, step(inputs("new", 1)))
    assert apps(ref.name) == []
    resumed = await provider.apply(ref, step(inputs("new", 1), used=True))
    assert not resumed.lingers


async def test_nobody_lingers_for_nobody(provider: ProcessProvider, ref: ComponentRef) -> None:
    await provider.apply(ref, step(inputs("old"), used=True))
    await provider.apply(ref, step(inputs("newer"), used=True))
    alone = await provider.apply(ref, step(inputs("newest")))
    assert not alone.lingers
    assert {app.environ()["WORD"] for app in apps(ref.name)} == {"newest"}

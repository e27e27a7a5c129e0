"""The end of a pulumi.stack: what is in its way, and that nothing is certified which still exists."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from providers.pulumi.provider import PulumiProvider
from tests.providers.pulumi_world import CLI, PASSPHRASE, Shelf, open_provider, packed, step
from twin.domain.errors import Blocked
from twin.domain.identity import ComponentRef
from twin.ports.provider import Resource
from twin.testing.steps import make_ref


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[PulumiProvider]:
    opened = open_provider(tmp_path / "target")
    yield opened
    await opened.close()


@pytest.fixture
def ref() -> ComponentRef:
    return make_ref("books", type="pulumi.stack")


async def test_what_outlives_its_destruction_is_named_each_time_until_it_is_gone(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf
) -> None:
    inputs = shelf.inputs(retain=True, count=1)
    await provider.apply(ref, step(inputs))
    (book,) = shelf.directory.glob(f"{ref.name}-book-0*")
    for _ in range(2):  # an operator who resolves the block and has removed nothing gets no certificate
        with pytest.raises(Blocked) as left:
            await provider.remove(ref, step(inputs))
        assert f"book-0 (pulumi-python:dynamic:Resource, id {book})" in left.value.message
        assert left.value.key == f"pulumi/test/leftovers-{ref.name}"
        assert str(book) in [each.external_id async for each in provider.owned(ref.environment)]
    book.unlink()
    await provider.remove(ref, step(inputs))
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_what_the_program_protects_waits_for_a_human_and_goes_as_the_block_says(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    inputs = shelf.inputs(protect=True, count=1)
    await provider.apply(ref, step(inputs))
    with pytest.raises(Blocked) as kept:
        await provider.remove(ref, step(inputs))
    assert kept.value.key == f"pulumi/test/protected-{ref.name}"
    assert len(shelf.books(ref.name)) == 1
    command = re.search(r"or: (pulumi .*?),", kept.value.mend)
    assert command is not None, kept.value.mend
    env = {
        "PATH": f"{Path(str(CLI)).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'target' / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    await asyncio.to_thread(subprocess.run, shlex.split(command[1]), env=env, cwd=tmp_path, check=True)
    await provider.remove(ref, step(inputs))
    assert shelf.books(ref.name) == {}


async def test_what_the_inventory_finds_goes_as_it_says(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    await provider.apply(ref, step(shelf.inputs(count=2)))
    found = [each async for each in provider.owned(ref.environment)]
    env = {
        "PATH": f"{Path(str(CLI)).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    async def remove(each: Resource) -> None:
        assert PASSPHRASE not in each.removal
        await asyncio.to_thread(subprocess.run, each.removal, shell=True, env=env, cwd=tmp_path, check=True)

    await remove(next(each for each in found if "book-1" in each.detail))
    assert [Path(book).name.rpartition("book-")[2][:1] for book in shelf.books(ref.name)] == ["0"]
    await remove(next(each for each in found if each.kind == "stack"))
    assert shelf.books(ref.name) == {}
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_it_needs_neither_a_program_that_loads_nor_resources_that_still_stand(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    await provider.apply(ref, step(shelf.inputs(count=2)))
    next(shelf.directory.glob(f"{ref.name}-book-0*")).unlink()
    broken = tmp_path / "broken" / "shelf"
    broken.mkdir(parents=True)
    (broken / "program.py").write_text("def books(:\n")
    inputs = {**shelf.inputs(), "lookup": "shelf.program:looked_up"}
    await provider.remove(ref, step(inputs, content=packed(broken.parent), digest="broken"))
    assert shelf.books(ref.name) == {}
    assert [each async for each in provider.owned(ref.environment)] == []

"""A world for Pulumi programs: a directory of books, and what tests see of it without asking the provider."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from providers.pulumi import KIND
from providers.pulumi.client import CHILD, find_cli
from providers.pulumi.provider import PulumiProvider
from tests.waiting import soon
from twin.domain.errors import Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import StepContext
from twin.testing.steps import make_step

BUNDLE = Path(__file__).with_name("pulumi_bundle")
PASSPHRASE = "correct-horse-battery-staple"
CLI = find_cli()
"""`make tools` builds it; without it the provider's suites cannot run, and say so."""


def packed(folder: Path = BUNDLE) -> bytes:
    """A tar.gz of a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, str(path.relative_to(folder)))
    return out.getvalue()


def open_provider(directory: Path, credentials: Mapping[str, str] | None = None, **config: Any) -> PulumiProvider:
    """A provider whose target is that directory."""
    assert CLI is not None, "no pulumi on the PATH or in .tools: make tools"
    target = Target(
        name="pulumi/test", provider="pulumi", config={"directory": str(directory), "cli": str(CLI), **config}
    )
    provider = KIND.open(target, {"passphrase": PASSPHRASE, **(credentials or {})})
    assert isinstance(provider, PulumiProvider)
    return provider


def step(inputs: Mapping[str, Any], *, content: bytes | None = None, digest: str = "b1", **more: Any) -> StepContext:
    """A step with the bundle of books."""
    data = packed() if content is None else content

    async def read() -> bytes:
        return data

    return make_step(inputs, bundle=digest, read_bundle=read, **more)


class Shelf:
    """The directory in which the books stand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def books(self, stack: str) -> dict[str, str]:
        """Every file of a stack with its text."""
        return {path.name: path.read_text() for path in sorted(self.directory.glob(f"{stack}-*"))}

    def log(self) -> list[str]:
        """What the providers did."""
        path = self.directory / "log"
        return path.read_text().splitlines() if path.exists() else []

    def inputs(self, program: str = "books", **config: Any) -> dict[str, Any]:
        """Inputs of a stack whose books stand here."""
        return {
            "program": f"shelf.program:{program}",
            "config": {"directory": str(self.directory), "text": "once upon a time", **config},
            "outputs": ["text"],
            "secrets": ["url"],
        }


def child(kind: str) -> psutil.Process | None:
    """The runner, or Pulumi's CLI, of an attempt of this process."""
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if (each.name() == "pulumi") if kind == "CLI" else (str(CHILD) in each.cmdline()):
                return each
    return None


async def cut_off(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, inputs: dict[str, object], kind: str
) -> None:
    """An apply whose runner or CLI is killed between the effect and the answer of its first create."""
    attempt = asyncio.create_task(provider.apply(ref, step(inputs)))

    async def created() -> bool:
        assert not attempt.done(), attempt
        return any(line.startswith("created") for line in shelf.log())

    await soon(created, within=60)
    found = child(kind)
    assert found is not None
    found.kill()
    with pytest.raises(Transient):
        await attempt

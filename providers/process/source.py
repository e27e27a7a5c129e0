"""From a bundle or a repository to a working directory: content-addressed, built once, made whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from providers.process.access import Credential
from providers.process.account import Account
from providers.process.client import run_guarded
from providers.process.environment import clean
from providers.process.git import Repository
from providers.process.layout import ServiceDirectory, delete, write_private
from providers.process.spec import Config, Service
from twin.children import processes
from twin.children.bundle import unpack
from twin.children.environment import marks
from twin.domain.errors import StepFailure, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import StepContext

BUILD = "build"  # the slot that builds and git run under
_LAST_LINES = 20


class Source(Struct, frozen=True):
    """A working directory that is ready. `key` is the digest of files and build; `commit` is empty for a bundle."""

    key: str
    tree: Path
    commit: str


async def ensure_source(
    ref: ComponentRef,
    directory: ServiceDirectory,
    service: Service,
    step: StepContext,
    *,
    target: str,
    settings: Config,
    credentials: tuple[Credential, ...],
    account: Account | None,
    beat: Callable[[], Awaitable[None]],
) -> Source:
    """The working directory of `service`, made if it is not there. Idempotent; a half-made one is made anew.

    Raises Terminal for an unsafe bundle, a missing ref, a failing build; Transient for the network.
    """
    await _end_earlier_builds(ref, beat)
    try:
        if service.source is None:
            commit = ""
            content = f"bundle {step.bundle or 'none'}"
            repository = None
        else:
            repository = Repository(
                service.source,
                target=target,
                account=account,
                settings=settings,
                credentials=credentials,
                marks=marks(ref, BUILD),
                deadline=step.deadline,
                beat=beat,
            )
            commit = await repository.resolve(directory.tmp)
            content = f"git {commit}"
        key = hashlib.sha256(
            json.dumps([content, service.build, *([account.name] if account else [])]).encode()
        ).hexdigest()[:20]
        root = directory.sources / key
        source = Source(key, root / "tree", commit)
        if (root / "ready").exists():
            return source
        await asyncio.to_thread(delete, root)
        source.tree.mkdir(parents=True, mode=0o700)
        if repository is not None:
            if account is not None:
                account.give(source.tree)
            try:
                await repository.fetch(commit, source.tree)
            except StepFailure:
                await asyncio.to_thread(delete, root)  # it may be large, and no attempt may follow
                raise
        elif step.bundle is not None and step.read_bundle is not None:
            await asyncio.to_thread(unpack, await step.read_bundle(), source.tree)
            if account is not None:
                await asyncio.to_thread(account.give, source.tree)
        if service.build is not None:
            await _build(service.build, ref, directory, source.tree, step, target=target, account=account, beat=beat)
        write_private(root / "ready", commit)
    except TimeoutError:
        raise Transient("Fetching or building the source was not done within the attempt's time.") from None
    return source


def collect(directory: ServiceDirectory, keep: str) -> None:
    """Remove the sources that no replica runs from any more."""
    for root in directory.sources.iterdir():
        if root.name != keep:
            delete(root)


async def _build(
    command: list[str],
    ref: ComponentRef,
    directory: ServiceDirectory,
    tree: Path,
    step: StepContext,
    *,
    target: str,
    account: Account | None,
    beat: Callable[[], Awaitable[None]],
) -> None:
    # without the service's env: a build depends on its source only, so its result can be reused, and sees no secret
    output = await run_guarded(
        command,
        target=target,
        account=account,
        cwd=tree,
        env=clean(ref, str(tree), directory, BUILD),
        marks=marks(ref, BUILD),
        deadline=step.deadline,
        beat=beat,
    )
    write_private(directory.logs / "build.txt", output.text)
    if output.code:
        last = "\n".join(output.text.splitlines()[-_LAST_LINES:])
        raise Terminal(f"The build command ended with exit code {output.code}. Its last lines:\n{last}", field="build")


async def _end_earlier_builds(ref: ComponentRef, beat: Callable[[], Awaitable[None]]) -> None:
    """Only one build at a time works in a directory: whatever is left of a dead worker's ends first."""

    def find() -> list[processes.Marked]:
        return [process for process in processes.marked(ref.mark, component=ref.name) if process.slot == BUILD]

    if left := await asyncio.to_thread(find):
        processes.send(left, signal.SIGKILL)
        if await processes.stop(find, grace=0.0, beat=beat):
            raise Transient("A build of an earlier attempt cannot be ended yet.")

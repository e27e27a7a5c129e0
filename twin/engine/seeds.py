"""What a seed copies from: the source as it stands now, its target opened, and the scripts that mask the copy."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Awaitable, Callable

from twin.domain.environment import Environment
from twin.domain.errors import Terminal
from twin.domain.identity import Placement
from twin.engine.attempts import Attempt
from twin.engine.placing import check
from twin.ports.provider import CopiesData, Provider, Source
from twin.ports.targets import OpenTargets

MOST = 4 * 1024 * 1024
"""Bytes of a masking script."""


async def source_of(
    attempt: Attempt,
    targets: OpenTargets,
    read_environment: Callable[[str], Awaitable[Environment | None]],
    read_bundle: Callable[[str], Awaitable[bytes]],
) -> Source:
    """The source of a seed step. Raises `Terminal` if it is gone, or is not what it was when the clone was asked for:
    then nothing can be copied any more."""
    seed = attempt.env.desired.seed
    assert seed is not None  # a seed step is planned for clones only
    component = attempt.key.component
    env = await read_environment(seed.source)
    instance = env.instances.get(seed.components[component]) if env is not None else None
    if env is None or instance is None or instance.digest is None or instance.removing:
        raise Terminal(
            f"{component} of {seed.project}/{seed.name} is gone, so it cannot be copied any more",
            mend="Destroy this clone; clone what there is, or create an environment that begins empty.",
        )
    provider = await targets.provider(instance.placement.target)
    found = await provider.identify()
    check(instance.placement, Placement(instance.placement.target, instance.placement.endpoint, found.identity))
    masking: dict[str, bytes] = {}
    if seed.mode == "masked":
        files = attempt.env.desired.components[component].masking
        masking = _files(await read_bundle(attempt.env.desired.blueprint.bundle), files)
    return Source(
        ref=env.ref(instance.component, instance.incarnation, instance.type),
        provider=provider,
        inputs=instance.inputs,
        mode=seed.mode,
        suspended=instance.suspended,
        masking=masking,
    )


def copier(provider: Provider, type_: str) -> CopiesData:
    """The provider as one that copies; its type has promised it."""
    if isinstance(provider, CopiesData):
        return provider
    raise Terminal(f"{type_} cannot be copied", mend="Clone with data: none.")


def _files(bundle: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """The scripts, out of the bundle's archive, in the order of `names`."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:*") as archive:
        members = {member.name.removeprefix("./"): member for member in archive.getmembers() if member.isfile()}
        for name in names:
            member = members.get(name)
            content = archive.extractfile(member) if member is not None and member.size <= MOST else None
            if content is None:
                raise Terminal(
                    f"the masking script {name} is not in the blueprint's bundle, or larger than {MOST} bytes",
                    field="masking",
                    mend="Publish a version of the blueprint that has it, then clone anew.",
                )
            found[name] = content.read()
    return found

"""`pulumi.stack`: one stack per component, worked on by children that die with the worker."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets as random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from providers.pulumi.child.state import texts
from providers.pulumi.client import Client, this_host
from providers.pulumi.errors import translated
from providers.pulumi.layout import Layout, write_private
from providers.pulumi.removal import removal
from providers.pulumi.spec import PASSPHRASE, STACK, Config, Stack, check_credentials, config, parse
from twin.children import processes
from twin.children.bundle import unpack
from twin.children.environment import marks
from twin.domain.component_type import ComponentType
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark, physical_name
from twin.domain.targets import Target
from twin.ports.provider import Applied, Change, Observed, Resource, StepContext

WORK = "stack"  # the slot of children that change something
LOOK = "look"  # and of those that only read
_READING = timedelta(seconds=180)
_LOCK_POLL = 0.1
_REFERENCE = "${"


class PulumiProvider:
    """One backend, and a directory of this worker. Holds no state of its own: all is in the backend."""

    def __init__(self, target: Target, settings: Config, credentials: Mapping[str, str]) -> None:
        self.target = target.name
        self.settings = settings
        self.layout = Layout(Path(settings.directory))
        self._passphrase = credentials[PASSPHRASE].encode()
        self._client = Client(target.name, settings, credentials, self.layout)

    async def identify(self) -> Placement:
        """The backend's address, and the random identity that is kept in it."""
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            if self.settings.backend == "files":
                identity = await asyncio.to_thread(self.layout.identity)
                return Placement(self.target, f"file://{self.layout.state}", identity)
            found = await self._read("identify", "twin", {}, fresh=random.token_hex(16))
            return Placement(self.target, _without_user(self.settings.backend), str(found["identity"]))

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """What the resources' own APIs say, compared with the stack's state and with `inputs`."""
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            tree = self.layout.last_tree(ref.name)
            found = await self._read("observe", ref.name, marks(ref, LOOK), tree=tree)
            if not found["found"]:
                return None
            drift = {**found["drift"], **self._other_inputs(inputs, found["inputs"])}
            public = self._public(inputs, found["outputs"])
            return Observed(external_id=ref.name, outputs=public, drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Recover what a crash left, then `up` with a refresh."""
        return await self._apply(ref, step)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """`up` with old and new credentials side by side."""
        return await self._apply(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """`up` without the old one; the bundle's `check` then proves that it no longer opens."""
        await self._apply(ref, step, "retire", retired=dict(secrets), retired_version=version)

    async def preview(self, ref: ComponentRef, step: StepContext) -> tuple[Change, ...]:
        """What the engine would do, resource by resource."""
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            stack = parse(step.inputs)
            tree = await self._tree(ref, step)
            found = await self._client.ask(
                "preview",
                stack=ref.name,
                marks=marks(ref, LOOK),
                deadline=step.deadline,
                beat=step.heartbeat,
                tree=tree,
                source=stack.source,
                hidden={**_secret_config(step), "secrets": dict(step.secrets)},
                sealed=sorted(_secret_config(step)),
                program=stack.program,
                config=_config(stack, step),
            )
        return tuple(Change(resource=each["resource"], kind=each["kind"], fields=each["fields"])
                     for each in found["changes"])  # fmt: skip

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Destroy, ask the resources' APIs whether all are gone, then remove the stack. Needs no bundle."""
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            async with self._locked(ref, step):
                tree = await self._tree(ref, step)
                await self._client.ask(
                    "remove",
                    stack=ref.name,
                    marks=marks(ref, WORK),
                    deadline=step.deadline,
                    beat=step.heartbeat,
                    tree=tree,
                    hidden={**_secret_config(step), "secrets": dict(step.secrets)},
                    sealed=sorted(_secret_config(step)),
                    config=step.inputs.get("config") if isinstance(step.inputs.get("config"), Mapping) else {},
                    lookup=step.inputs.get("lookup"),
                    ids=step.inputs.get("ids"),
                    timeout=step.inputs.get("timeout", STACK.deadline),
                    kept=str(self.layout.removal(ref.name)),
                    answers=self.layout.answers(ref.name),
                    host=this_host(),
                    record=self._record(step, {}),
                )
                await asyncio.to_thread(self.layout.forget, ref.name)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Stacks by their names, which begin with the environment's, with all that is in them."""
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            prefix = physical_name(environment, "", 0).removesuffix("_0")
            found = await self._read("owned", "twin", {}, prefix=prefix)
        for stack in found["stacks"]:
            name = stack["stack"]
            way = removal(self.settings, self.layout, name)
            yield Resource(kind="stack", external_id=name, detail=ownership_mark(environment), removal=way)
            for each in stack["resources"]:
                detail = f"{each['name']} of {name}"
                way = removal(self.settings, self.layout, name, urn=each["urn"])
                yield Resource(kind=each["type"], external_id=each["id"], detail=detail, removal=way)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _apply(self, ref: ComponentRef, step: StepContext, operation: str = "apply", **more: Any) -> Applied:
        with translated(self.target):
            await asyncio.to_thread(self.layout.prepare)
            stack = parse(step.inputs)
            async with self._locked(ref, step):
                tree = await self._tree(ref, step)
                await asyncio.to_thread(self.layout.removal(ref.name).unlink, missing_ok=True)
                if step.bundle is not None:
                    await asyncio.to_thread(self.layout.remember, ref.name, step.bundle)
                found = await self._client.ask(
                    operation,
                    stack=ref.name,
                    marks=marks(ref, WORK),
                    deadline=step.deadline,
                    beat=step.heartbeat,
                    tree=tree,
                    source=stack.source,
                    hidden={**_secret_config(step), "secrets": dict(step.secrets), "retired": more.get("retired")},
                    sealed=sorted(_secret_config(step)),
                    program=stack.program,
                    config=_config(stack, step),
                    lookup=stack.lookup,
                    check=stack.check,
                    ids=stack.ids,
                    timeout=stack.timeout,
                    answers=self.layout.answers(ref.name),
                    host=this_host(),
                    record=self._record(step, step.inputs),
                    **more,
                )
        return _applied(ref, stack, step, found["outputs"], found["secrets"])

    async def _read(self, operation: str, stack: str, marked: Mapping[str, str], **more: Any) -> dict[str, Any]:
        async def unheard(progress: str) -> None:
            """Reading has no step to report to."""

        deadline = datetime.now(UTC) + _READING
        return await self._client.ask(operation, stack=stack, marks=marked, deadline=deadline, beat=unheard, **more)

    async def _tree(self, ref: ComponentRef, step: StepContext) -> Path | None:
        """The bundle, unpacked; without one, that of the last apply."""
        if step.bundle is None or step.read_bundle is None:
            return self.layout.last_tree(ref.name)
        root = self.layout.program(step.bundle)
        if not (root / "ready").exists():
            bundle = await step.read_bundle()
            await asyncio.to_thread(_unpack, bundle, root)
        os.utime(root)
        return root / "tree"

    @asynccontextmanager
    async def _locked(self, ref: ComponentRef, step: StepContext) -> AsyncIterator[None]:
        """Alone with the stack on this machine: whatever an earlier attempt left running has ended."""
        while True:
            with self.layout.lock(ref.name) as mine:
                if mine:
                    await self._end_earlier(ref, step.heartbeat)
                    yield
                    return
            if datetime.now(UTC) >= step.deadline:
                raise Transient(f"Another attempt works on stack {ref.name}.")
            await step.heartbeat("waiting for another attempt")
            await asyncio.sleep(_LOCK_POLL)

    async def _end_earlier(self, ref: ComponentRef, heartbeat: Callable[[str], Awaitable[None]]) -> None:
        def find() -> list[processes.Marked]:
            return [each for each in processes.marked(ref.mark, component=ref.name) if each.slot == WORK]

        async def beat() -> None:
            await heartbeat("ending an earlier attempt")

        if left := await asyncio.to_thread(find):
            processes.send(left, signal.SIGKILL)
            if await processes.stop(find, grace=0.0, beat=beat):
                raise Transient("The processes of an earlier attempt cannot be ended yet.")

    def _record(self, step: StepContext, inputs: Mapping[str, Any]) -> str:
        """Who works on the stack and until when, for whoever finds it locked; and its inputs, by digest."""
        until = step.deadline + timedelta(seconds=STACK.settle)
        return json.dumps({"host": this_host(), "deadline": until.timestamp(), "inputs": self._digests(inputs)})

    def _digests(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        """Of the program and of each value of the configuration, so keyed that nobody can guess at them."""
        values = {name: inputs.get(name) for name in ("program", "source") if inputs.get(name)}
        settings = inputs.get("config")
        if isinstance(settings, Mapping):
            values |= {f"config.{name}": value for name, value in settings.items()}
        return {
            name: hmac.digest(self._passphrase, json.dumps(value, sort_keys=True).encode(), "sha256").hex()[:16]
            for name, value in values.items()
            if _REFERENCE not in json.dumps(value)
        }

    def _other_inputs(self, inputs: Mapping[str, Any], applied: Mapping[str, str]) -> dict[str, str]:
        """Which inputs differ from those of the last apply; what is still a reference is not known."""
        now, drift = self._digests(inputs), {}
        for name, value in now.items():
            if applied.get(name) != value:
                drift[name.partition(".")[0]] = "is another than the stack was last applied with"
        settings = inputs.get("config") or {}
        if isinstance(settings, Mapping) and any(
            name.startswith("config.") and name.removeprefix("config.") not in settings for name in applied
        ):
            drift["config"] = "lacks a value that the stack was last applied with"
        return drift

    @staticmethod
    def _public(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        declared = inputs.get("secrets") or ()
        return {name: value for name, value in outputs.items() if name not in declared}


def _applied(
    ref: ComponentRef, stack: Stack, step: StepContext, public: Mapping[str, Any], secret: Mapping[str, Any]
) -> Applied:
    """The program's outputs, by what they are and what the inputs declare; Terminal for one that is not there."""
    hidden = dict(secret)
    hidden |= {name: public[name] for name in stack.secrets if name in public}
    if stack.rotates:
        live = hidden.pop("credentials", None) or public.get("credentials")
        newest = live.get(str(step.version)) if isinstance(live, Mapping) else None
        if not isinstance(newest, Mapping):
            raise Terminal(
                f"The program exports no credential of version {step.version}.",
                field="program",
                mend='Export `credentials` as a secret: a map from each version of the config value "twin:credentials" '
                "to its fields.",
            )
        hidden |= newest
    for name in stack.secrets:
        if name not in hidden:
            raise Terminal(f"The program exports no {name!r}, which the inputs declare.", field="secrets")
    outputs = {name: value for name, value in public.items() if name not in hidden and name != "credentials"}
    for name in stack.outputs:
        if name in hidden:
            raise Terminal(f"The output {name!r} is secret.", field="outputs", mend="Declare it under `secrets`.")
        if name not in outputs:
            raise Terminal(f"The program exports no {name!r}, which the inputs declare.", field="outputs")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in hidden.items()}
    return Applied(external_id=ref.name, outputs=outputs, secrets=texts)


def _config(stack: Stack, step: StepContext) -> dict[str, Any]:
    return {**stack.config, "twin:credentials": sorted(step.live)} if stack.rotates else dict(stack.config)


def _secret_config(step: StepContext) -> dict[str, Any]:
    """What of the configuration holds another component's secret."""
    config = step.inputs.get("config")
    if not isinstance(config, Mapping):
        return {}
    return {
        name: value
        for name, value in config.items()
        if any(secret in text for text in texts(value) for secret in step.granted if secret)
    }


def _unpack(bundle: bytes, root: Path) -> None:
    """Unpack beside, then move: two attempts at once leave one whole tree."""
    draft = root.with_name(f".{root.name}-{random.token_hex(4)}")
    tree = draft / "tree"
    tree.mkdir(mode=0o700, parents=True)
    unpack(bundle, tree)
    write_private(draft / "ready", "")
    try:
        draft.rename(root)
    except OSError:
        if not (root / "ready").exists():
            raise


def _without_user(backend: str) -> str:
    """The place alone: neither who asks nor how (`?endpoint=…`, `?sslmode=…`) makes another of it."""
    parts = urlsplit(backend)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class PulumiKind:
    """Runs Pulumi programs of a bundle, one stack per component."""

    name = "pulumi"
    types: tuple[ComponentType, ...] = (STACK,)

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid` for a directory, backend or credential that cannot be right. No I/O."""
        config(target.config)
        check_credentials(credentials)

    def open(self, target: Target, credentials: Mapping[str, str]) -> PulumiProvider:
        """A provider for this target; nothing is started yet."""
        return PulumiProvider(target, config(target.config), credentials)

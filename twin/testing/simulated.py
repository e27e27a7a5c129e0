"""A provider whose world is a dictionary: it does what is asked, fails as it is told, and can be held in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from twin.domain.component_type import ComponentType
from twin.domain.errors import Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.domain.targets import Target
from twin.ports.provider import Applied, Change, Member, Observed, Provider, Resource, Seeded, Source, StepContext


class Standing(Struct):
    """One thing that stands in the simulated world."""

    mark: str
    component: str
    inputs: dict[str, Any]
    secrets: dict[str, str]
    suspended: bool = False
    credentials: dict[int, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    data: str = ""


class SimulatedWorld:
    """The world of all simulated targets, and the script of what goes wrong in it.

    Steps are named `component.verb`, such as `db.apply`. `fail` queues errors for them, `hold` stops them in the
    middle of their work until `let_go`, `say` has them tell their progress; `calls` records what was done, in order.
    """

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.identity: str | None = "server-1"
        self.unreachable = False
        self._errors: dict[str, list[Exception]] = defaultdict(list)
        self._gates: dict[str, asyncio.Event] = {}
        self._held: Counter[str] = Counter()
        self._said: dict[str, tuple[str, ...]] = {}

    def fail(self, step: str, *errors: Exception) -> None:
        """The next attempts of a step end so."""
        self._errors[step].extend(errors)

    def say(self, step: str, *progress: str) -> None:
        """What each attempt of a step tells of its progress, one right after the other, before it can be held."""
        self._said[step] = progress

    def hold(self, step: str) -> None:
        """Attempts of a step stop after their effect and before their reply."""
        self._gates[step] = asyncio.Event()

    def let_go(self, step: str) -> None:
        """Held attempts go on."""
        self._held.pop(step, None)
        self._gates.pop(step).set()

    @property
    def held(self) -> int:
        """How many attempts are held now."""
        return self._held.total()

    def applies(self, component: str) -> list[dict[str, Any]]:
        """The inputs of each apply of a component that had an effect."""
        return [inputs for step, inputs in self.calls if step == f"{component}.apply"]

    async def happen(self, ref: ComponentRef, verb: str, inputs: Mapping[str, Any]) -> None:
        """The script's part in a call."""
        step = f"{ref.component}.{verb}"
        if self._errors[step]:
            raise self._errors[step].pop(0)
        self.calls.append((step, dict(inputs)))

    async def wait_at_gate(self, ref: ComponentRef, verb: str, context: StepContext) -> None:
        """Where a step tells its progress, and stops if it is held."""
        step = f"{ref.component}.{verb}"
        for progress in self._said.get(step, ()):
            await context.heartbeat(progress)
        if (gate := self._gates.get(step)) is not None:
            self._held[step] += 1
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self._held[step] -= 1
                raise


class SimulatedProvider:
    """See `twin.ports.provider`: it has every capability."""

    def __init__(self, world: SimulatedWorld, target: Target) -> None:
        self._world = world
        self._target = target

    async def identify(self) -> Placement:
        """The simulated server."""
        if self._world.unreachable:
            raise Transient("connection refused")
        return Placement(self._target.name, "simulated:1", self._world.identity)

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """What stands, compared with the inputs."""
        await self._world.happen(ref, "observe", inputs)
        found = self._world.standing.get(ref.name)
        if found is None:
            return None
        drift = {k: f"{k} is {found.inputs.get(k)}, not {v}" for k, v in inputs.items() if found.inputs.get(k) != v}
        return Observed(external_id=ref.name, drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Create or update."""
        await self._world.happen(ref, "apply", step.inputs)
        found = self._world.standing.get(ref.name) or Standing(ref.mark, ref.component, {}, {})
        credentials = {**found.credentials, **_passwords(step)}
        self._world.standing[ref.name] = replace(
            found, inputs=dict(step.inputs), secrets=_secrets(ref, step), suspended=False, credentials=credentials
        )
        await self._world.wait_at_gate(ref, "apply", step)
        return self._applied(ref, step)

    async def preview(self, ref: ComponentRef, step: StepContext) -> tuple[Change, ...]:
        """One thing, and what of its inputs would be another."""
        await self._world.happen(ref, "preview", step.inputs)
        await self._world.wait_at_gate(ref, "preview", step)
        found = self._world.standing.get(ref.name)
        now = {"password": _secrets(ref, step)["url"], **step.inputs}
        if found is None:
            return (Change(resource=ref.component, kind="create", fields={k: f"{v}" for k, v in now.items()}),)
        was = {"password": found.secrets["url"], **found.inputs}
        fields = {k: f"{was.get(k)} → {v}" for k, v in now.items() if was.get(k) != v}
        return (Change(resource=ref.component, kind="update", fields=fields),) if fields else ()

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """One more credential."""
        await self._world.happen(ref, "issue", {"version": step.version})
        found = self._world.standing[ref.name]
        found.credentials |= _passwords(step)
        assert len(found.credentials) <= 2, "never three live"
        await self._world.wait_at_gate(ref, "issue", step)
        return self._applied(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """One credential less."""
        await self._world.happen(ref, "retire", {"version": version})
        found = self._world.standing[ref.name]
        found.credentials.pop(version, None)
        assert found.credentials, "never none"
        await self._world.wait_at_gate(ref, "retire", step)

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """Exactly these people."""
        await self._world.happen(ref, "grant", {member.name: member.role for member in members})
        self._world.standing[ref.name].members = {member.name: member.role for member in members}
        await self._world.wait_at_gate(ref, "grant", step)
        return {each.name: {"url": f"sim://{each.name}:{each.secrets['password']}@host"} for each in members}

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """What the source has; once it is there it is not copied again."""
        await self._world.happen(ref, "seed", {"mode": source.mode, "masking": sorted(source.masking)})
        data = self._world.standing[source.ref.name].data
        copied = data if source.mode == "full" else f"{source.mode} {data}"
        self._world.standing.setdefault(ref.name, Standing(ref.mark, ref.component, {}, {}, data=copied))
        await self._world.wait_at_gate(ref, "seed", step)
        return Seeded(rows=len(data), bytes=len(data), point="now")

    def _applied(self, ref: ComponentRef, step: StepContext) -> Applied:
        outputs = {"host": "host", "url": f"http://{ref.name}"}
        return Applied(external_id=ref.name, outputs=outputs, secrets=_secrets(ref, step))

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Remove."""
        await self._world.happen(ref, "remove", {})
        self._world.standing.pop(ref.name, None)
        await self._world.wait_at_gate(ref, "remove", step)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop."""
        await self._world.happen(ref, "suspend", {})
        if (found := self._world.standing.get(ref.name)) is not None:
            found.suspended = True

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """By mark."""
        for name, found in self._world.standing.items():
            if found.mark.endswith(environment):
                yield Resource(kind="thing", external_id=name)

    async def close(self) -> None:
        """Nothing is open."""


def _passwords(step: StepContext) -> dict[int, str]:
    return {version: secrets.get("password", "") for version, secrets in step.live.items()}


def _secrets(ref: ComponentRef, step: StepContext) -> dict[str, str]:
    return {**step.secrets, "url": f"sim://{ref.name}:{step.secrets.get('password', 'none')}@host"}


class SimulatedKind:
    """See `twin.ports.provider.ProviderKind`."""

    def __init__(self, name: str, types: tuple[ComponentType, ...], world: SimulatedWorld) -> None:
        self.name = name
        self.types = types
        self._world = world

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Everything goes."""

    def open(self, target: Target, credentials: Mapping[str, str]) -> Provider:
        """A view of the world."""
        return SimulatedProvider(self._world, target)

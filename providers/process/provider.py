"""`process.service` on the machine of the twin: replicas as plain processes that outlive it."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from providers.process import access, health, logs, world
from providers.process.access import Credential
from providers.process.account import Account, account, account_here
from providers.process.errors import translated
from providers.process.layout import Layout, ServiceDirectory, delete, write_private
from providers.process.replicas import Replicas, Slot, forget, survey, version
from providers.process.source import collect, ensure_source
from providers.process.spec import SERVICE, Config, Service, Watched, config, parse, watched
from providers.process.world import SlotState
from twin.children import processes
from twin.children.hiding import words_to_hide
from twin.domain.component_type import ComponentType
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark
from twin.domain.targets import Target
from twin.ports.provider import Applied, LogLine, Observed, Resource, StepContext

_BEAT_SECONDS = 1.0
_LOCK_POLL = 0.05


class Record(Struct, frozen=True):
    """What the last apply or suspend left, without inputs: grace in seconds, the commit, whether it is suspended.

    `lingers`: replicas other than those in the slots `current` serve on, until they are drained; the source whose key
    is `source` then stays alone.
    """

    stop_grace: float
    commit: str
    suspended: bool = False
    lingers: bool = False
    current: tuple[str, ...] = ()
    source: str = ""

    def counts(self, slot: Slot) -> bool:
        """Whether a replica is one of those that are wanted, as far as the record tells."""
        return not self.lingers or slot.name in self.current


class ProcessProvider:
    """One directory of one machine. Holds no connection and no state of its own: all is in the world."""

    def __init__(self, target: Target, settings: Config, credentials: tuple[Credential, ...] = ()) -> None:
        self.target = target.name
        self.credentials = credentials
        self.settings = settings
        self.layout = Layout(Path(settings.directory))

    async def identify(self) -> Placement:
        """The machine's name with the directory, and the directory's random identity."""
        with translated(self.target):
            identity = await asyncio.to_thread(self.layout.identity)
        return Placement(self.target, f"{socket.gethostname()}:{self.settings.directory}", identity)

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """Which replicas live and answer."""
        with translated(self.target):
            directory = self.layout.service(ref)
            slots = await asyncio.to_thread(survey, ref, directory)
            record = read_record(directory)
            if not directory.root.exists() and not any(slot.processes for slot in slots):
                return None
            service = watched(inputs)
            if record is not None:
                slots = [slot for slot in slots if record.counts(slot)]
            # of two versions of one replica the running one is last
            by_index = {slot.index: slot.state for slot in sorted(slots, key=lambda s: s.running) if slot.state}
            states = [state for index, state in by_index.items() if index < service.replicas]
            return Observed(
                external_id=ref.name,
                outputs=self._outputs(states, record.commit if record else ""),
                drift=await self._drift(service, slots, suspended=bool(record and record.suspended)),
            )

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Source, build, then a rolling change to the wanted version and number. What others use lingers: they may name
        the old replicas until they have been applied themselves."""
        with translated(self.target):
            service = parse(step.inputs)
            async with self._locked(ref, step) as beat:
                directory = self.layout.service(ref)
                runs_as = account_here(self.target, self.settings)
                directory.prepare(runs_as)
                source = await ensure_source(
                    ref,
                    directory,
                    service,
                    step,
                    target=self.target,
                    settings=self.settings,
                    credentials=self.credentials,
                    account=runs_as,
                    beat=beat,
                )
                digest = version(self.layout.key(), service, source)
                replicas = self._replicas(ref, directory, service, step, beat, runs_as)
                states = await replicas.converge(service, source, digest, step.deadline, lingering=step.used)
                current = tuple(f"{state.index}-{digest}" for state in states)
                lingers = any(slot.running and slot.name not in current for slot in await replicas.slots())
                record = Record(service.stop_grace, source.commit, lingers=lingers, current=current, source=source.key)
                write_record(directory, record)
                if not lingers:
                    await self._tidy(directory, replicas, record)
        return Applied(external_id=ref.name, outputs=self._outputs(states, source.commit), lingers=lingers)

    async def drain(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop the replicas that the last apply has replaced, all at once, and let them finish what they are doing."""
        with translated(self.target):
            async with self._locked(ref, step) as beat:
                directory = self.layout.service(ref)
                record = read_record(directory)
                if record is None or not record.lingers:
                    return
                replicas = self._replicas(ref, directory, None, step, beat)
                record = msgspec.structs.replace(record, stop_grace=max(record.stop_grace, self._grace(step)))
                await self._tidy(directory, replicas, record)
                write_record(directory, msgspec.structs.replace(record, lingers=False))

    async def _tidy(self, directory: ServiceDirectory, replicas: Replicas, record: Record) -> None:
        """Nothing is left but the current replicas, with their source and logs."""
        await replicas.stop([s for s in await replicas.slots() if s.name not in record.current], record.stop_grace)
        await asyncio.to_thread(collect, directory, record.source)
        logs.prune(directory.logs)

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop all replicas; files and ports are remembered."""
        with translated(self.target):
            async with self._locked(ref, step) as beat:
                directory = self.layout.service(ref)
                record = read_record(directory) or Record(self._grace(step), "")
                replicas = self._replicas(ref, directory, None, step, beat)
                await replicas.stop(await replicas.slots(), record.stop_grace, keep_record=True)
                if directory.root.exists():
                    write_record(directory, msgspec.structs.replace(record, suspended=True, lingers=False))

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop every process that carries the component's mark, then delete its files and logs."""
        with translated(self.target):
            async with self._locked(ref, step) as beat:
                directory = self.layout.service(ref)
                record = read_record(directory)
                grace = record.stop_grace if record else self._grace(step)

                def find() -> list[processes.Marked]:
                    return world.of_service(ref.mark, ref.name, directory.slots)

                if directory.slots.exists():
                    for lock in directory.slots.glob("*.lock"):  # a supervisor that is only starting now gives up
                        lock.unlink(missing_ok=True)
                if left := await processes.stop(find, grace=grace, beat=beat):
                    raise Transient(f"Processes do not end: {', '.join(str(process.pid) for process in left)}.")
                if directory.root.exists():
                    forget(directory.slots)
                    await asyncio.to_thread(delete, directory.root)
                _remove_if_empty(self.layout.environment(ref.environment))
                self.layout.forget_lock(ref)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Processes by their mark, then directories."""
        with translated(self.target):
            for process in await asyncio.to_thread(processes.marked, ownership_mark(environment)):
                started = datetime.fromtimestamp(process.started, UTC).isoformat(timespec="seconds")
                detail = f"{process.component} {process.slot}: {process.name}, started {started}"
                way = f"on {socket.gethostname()}: kill -KILL {process.pid}"
                yield Resource(kind="process", external_id=str(process.pid), detail=detail, removal=way)
            root = self.layout.environment(environment)
            for path in sorted(root.iterdir()) if root.exists() else []:
                way = f"on {socket.gethostname()}: {shlex.join(['rm', '-rf', '--', str(path)])}"
                yield Resource(kind="directory", external_id=str(path), detail=path.name, removal=way)

    async def logs(self, ref: ComponentRef, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the replicas wrote, merged by time."""
        directory = self.layout.service(ref).logs
        if not follow:
            for line in await asyncio.to_thread(logs.tail, directory, lines):
                yield line
            return
        async with aclosing(logs.follow(directory, lines)) as following:
            async for line in following:
                yield line

    async def close(self) -> None:
        """Nothing is held open."""

    async def _drift(self, service: Watched, slots: list[Slot], *, suspended: bool) -> dict[str, str]:
        running = [slot for slot in slots if slot.running]
        if suspended:
            return {"replicas": f"{len(running)} run although it is suspended"} if running else {}
        drift = {}
        wanted = set(range(service.replicas))
        indexes = [slot.index for slot in running]
        if set(indexes) != wanted or len(indexes) != len(wanted):
            by_index = {slot.index: slot for slot in slots}
            fates = [
                f"replica {index} {by_index[index].fate() if index in by_index else 'is gone'}"
                for index in sorted(wanted - set(indexes))
            ]
            drift["replicas"] = "; ".join([f"{len(indexes)} of {len(wanted)} run", *fates])
        complaints = await asyncio.gather(
            *(health.check(self.settings.host, slot.state.port, service.health.path) for slot in running if slot.state)
        )
        sick = [
            f"replica {s.index}: {said.text}" for s, said in zip(running, complaints, strict=True) if said is not None
        ]
        if sick:
            drift["health"] = "; ".join(sick)
        return drift

    def _outputs(self, states: list[SlotState], commit: str) -> dict[str, Any]:
        ports = [state.port for state in sorted(states, key=lambda state: state.index)]
        urls = [health.base_url(self.settings.host, port) for port in ports]
        return {"url": urls[0] if urls else "", "urls": urls, "ports": ports, "commit": commit}

    def _replicas(
        self,
        ref: ComponentRef,
        directory: ServiceDirectory,
        service: Service | None,
        step: StepContext,
        beat: Callable[[], Awaitable[None]],
        account: Account | None = None,
    ) -> Replicas:
        secrets = words_to_hide(step.secrets.values())
        return Replicas(
            ref=ref,
            target=self.target,
            layout=self.layout,
            directory=directory,
            host=self.settings.host,
            account=account,
            beat=beat,
            hidden=words_to_hide([*step.secrets.values(), *(service.variables().values() if service else ())]),
            secrets=secrets,
        )

    def _grace(self, step: StepContext) -> float:
        try:
            return parse(step.inputs).stop_grace
        except Terminal:
            return 10.0  # inputs that could never be applied must not keep it from being stopped

    @asynccontextmanager
    async def _locked(self, ref: ComponentRef, step: StepContext) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Be the only one that changes a service; gives a heartbeat that may be called as often as one likes."""
        last = 0.0
        clock = asyncio.get_running_loop()

        async def beat() -> None:
            nonlocal last
            if clock.time() - last >= _BEAT_SECONDS:
                last = clock.time()
                await step.heartbeat(f"working on {ref.component}")

        while True:
            with self.layout.lock(ref) as mine:
                if mine:
                    yield beat
                    return
            if datetime.now(UTC) >= step.deadline:
                raise Transient(f"Another worker is still changing {ref.component}.")
            await beat()
            await asyncio.sleep(_LOCK_POLL)


class ProcessKind:
    """Runs services as processes in a directory of the twin's machine."""

    name = "process"
    types: tuple[ComponentType, ...] = (SERVICE,)

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """The directory must be an absolute path, the user one that we may become; credentials are of git servers."""
        account(config(target.config))
        access.credentials(credentials)

    def open(self, target: Target, credentials: Mapping[str, str]) -> ProcessProvider:
        """A provider for the target's directory, which is made at the first use."""
        return ProcessProvider(target, config(target.config), access.credentials(credentials))


def read_record(directory: ServiceDirectory) -> Record | None:
    """The record of the last apply or suspend, if there is one."""
    try:
        return msgspec.json.decode(directory.record.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_record(directory: ServiceDirectory, record: Record) -> None:
    """Replace the record."""
    write_private(directory.record, msgspec.json.encode(record).decode())


def _remove_if_empty(path: Path) -> None:
    try:
        os.rmdir(path)
    except OSError:
        return

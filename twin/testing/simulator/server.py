"""A server behind a target, as one process sees it: it takes its time, refuses, loses replies, and acts for callers
that are dead."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.ports.provider import Applied, Member, Observed, Resource, Seeded, Source, StepContext
from twin.testing.blueprints import TYPES
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.virtual_loop import START
from twin.testing.simulator.worlds import Caller, Copying, Request, Thing, Worlds

TOO_MANY = "too many requests"
"""What a server says that asks for patience."""

_NAMES = re.compile(r"tw_[a-z0-9_]+")


class Watch(Protocol):
    """What the oracle knows of a call before it is made."""

    def calls(self, environment: str, worker: str, ref: ComponentRef, verb: str, key: str) -> None: ...

    def runs_now(self, environment: str, worker: str, key: str) -> bool: ...


class SimulatedServer:
    """A provider of one target as one process sees it. See `twin.ports.provider`: it has every capability but logs and
    previews."""

    def __init__(self, target: str, caller: Caller, worlds: Worlds, fate: Fate, journal: Journal, watch: Watch) -> None:
        self._target = target
        self._caller = caller
        self._worlds = worlds
        self._fate = fate
        self._journal = journal
        self._watch = watch

    async def identify(self) -> Placement:
        """The one server."""
        await self._caller.passage("a read")
        return Placement(self._target, f"{self._target}:1", f"server-of-{self._target}")

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """What stands, compared with the inputs."""
        await self._pass(ref, "observe", str(ref.name))
        found = self._worlds.of(ref.environment).get(ref.name)
        if found is None:
            return None
        drift = {
            name: f"{name} is {found.inputs.get(name)}, not {inputs.get(name)}"
            for name in sorted(inputs.keys() | found.inputs.keys())
            if found.inputs.get(name) != inputs.get(name)
        }
        if found.suspended:
            drift["suspended"] = "it is stopped"
        return Observed(external_id=ref.name, drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Create or update."""
        inputs, passwords = dict(step.inputs), _passwords(step)
        refers = frozenset(_NAMES.findall(msgspec.json.encode(inputs).decode())) - {ref.name}

        def effect(stray: bool) -> None:
            thing = Thing(ref.name, _instance(ref), self._target, inputs, refers, f"of {ref.name}", stray=stray)
            self._worlds.put(ref.environment, thing, passwords)

        await self._change(ref, "apply", step, effect)
        return self._applied(ref, step)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """One more login."""
        password = _passwords(step)[step.version]

        def effect(stray: bool) -> None:
            self._worlds.admit(ref.environment, ref.name, self._target, step.version, password)

        await self._change(ref, "issue", step, effect)
        return self._applied(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """One login less."""
        await self._change(ref, "retire", step, lambda _: self._worlds.expel(ref.environment, ref.name, version))

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """Exactly these people."""
        people: dict[str, tuple[str, str]] = {each.name: (each.role, each.secrets["password"]) for each in members}

        def effect(stray: bool) -> None:
            self._worlds.logins(ref.environment, ref.name, self._target).people = people

        await self._change(ref, "grant", step, effect)
        return {name: {"url": f"sim://{name}:{password}@{self._target}"} for name, (_, password) in people.items()}

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """Copy what the source has; a copy that bears the mark is done."""
        await self._before(ref, "seed", step)
        here, name = ref.environment, ref.name
        attempt = self._fate.random.randbytes(4).hex()
        there = self._worlds.of(source.ref.environment)
        found = there.get(source.ref.name)
        if found is None:
            raise Terminal(f"{source.ref.name} does not stand")
        self._journal.must(source.mode != "masked" or source.masking, "nothing masks a copy", _instance(ref), here)

        def begin(stray: bool) -> None:
            part = (f"{source.mode} {found.content}",)
            self._worlds.begin_copy(here, name, Copying(self._target, attempt, part, late=stray))

        def finish(stray: bool) -> None:
            self._worlds.finish_copy(here, name, attempt, readable=source.ref.name in there)

        await self._send(ref, "seed", step, begin)
        await step.heartbeat("half of it")
        await self._send(ref, "seed", step, finish)
        if (copied := self._worlds.copied(here, name)) is None:
            raise Transient("the source went away, or somebody else has begun another copy")
        return Seeded(rows=found.writes, bytes=len(copied), point=copied)

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """Remove."""
        users = [each.instance for each in self._worlds.of(ref.environment).values() if ref.name in each.refers]
        strays = ref.environment in self._worlds.strayed
        self._journal.must(
            not users or strays, "removed before its users", f"{_instance(ref)}: {users}", ref.environment
        )
        await self._change(ref, "remove", step, lambda stray: self._worlds.take(ref.environment, ref.name, stray=stray))

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Stop."""

        def effect(stray: bool) -> None:
            if (found := self._worlds.of(ref.environment).get(ref.name)) is not None:
                found.suspended = True
                if stray:
                    self._worlds.strayed.add(ref.environment)

        await self._change(ref, "suspend", step, effect)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """By mark."""
        await self._caller.passage("a read")
        for name, target in list(self._worlds.marked(environment)):
            if target == self._target:
                yield Resource(kind="thing", external_id=name)

    async def close(self) -> None:
        """Nothing is open."""

    def _applied(self, ref: ComponentRef, step: StepContext) -> Applied:
        url = f"sim://{ref.name}:{step.secrets.get('password')}@{self._target}"
        outputs = {"host": f"{ref.name}.host", "url": f"http://{ref.name}"}
        return Applied(external_id=ref.name, outputs=outputs, secrets={**step.secrets, "url": url})

    async def _change(self, ref: ComponentRef, verb: str, step: StepContext, effect: Callable[[bool], None]) -> None:
        await self._before(ref, verb, step)
        await self._send(ref, verb, step, effect)

    async def _before(self, ref: ComponentRef, verb: str, step: StepContext) -> None:
        self._watch.calls(ref.environment, self._caller.name, ref, verb, step.idempotency_key)
        await self._pass(ref, verb, step.idempotency_key)

    async def _send(self, ref: ComponentRef, verb: str, step: StepContext, effect: Callable[[bool], None]) -> None:
        """A request and its reply."""
        loop = asyncio.get_running_loop()
        settle = TYPES[ref.type].settle
        latest = (step.deadline - START).total_seconds() + settle * 0.9
        request = Request(self._caller, effect, latest, settle)
        work = self._fate.work()
        if self._fate.strikes("slow", 0.03):
            work = self._fate.random.choice((30.0, 90.0, 400.0))
            self._journal.note("slow server", f"{_instance(ref)}:{verb}", ref.environment)
        reply = loop.create_future()
        whole = request.effect

        def answered(bereft: bool) -> None:
            # A frozen caller does not know that its attempt was given up.
            whole(bereft or not self._watch.runs_now(ref.environment, self._caller.name, step.idempotency_key))
            if not reply.done():
                reply.set_result(None)

        request.effect = answered
        self._worlds.send(request, work)
        try:
            await self._caller.passage("before an effect")
            await reply
            await self._caller.passage("after an effect")
        except BaseException:
            self._worlds.withdraw(request)
            raise
        if self._fate.strikes("lost_reply", 0.06):
            self._journal.note("reply lost", f"{_instance(ref)}:{verb}", ref.environment)
            raise Transient("the connection broke before the reply")

    async def _pass(self, ref: ComponentRef, verb: str, key: str) -> None:
        """What may go wrong before a server takes a request."""
        self._worlds.calls += 1
        await self._caller.passage("a call")
        what, entity = f"{_instance(ref)}:{verb}", ref.environment
        if self._fate.strikes("transient", 0.1):
            self._journal.note("server refuses", what, entity)
            raise Transient("connection refused")
        if self._fate.strikes("rate_limit", 0.06):
            seconds = self._fate.random.choice((30.0, 240.0, 1800.0))
            self._journal.note("rate limit", f"{what}, {seconds:.0f} s", entity)
            if verb != "observe":
                self._worlds.told[key] = (self._caller.name, asyncio.get_running_loop().time() + seconds)
            raise Transient(TOO_MANY, retry_after=timedelta(seconds=seconds))
        if self._fate.strikes("quota", 0.015):
            self._worlds.quotas.add(f"{self._target}/{self._fate.random.choice(('quota', 'grant'))}")
        full = sorted(each for each in self._worlds.quotas if each.startswith(self._target))
        if full and self._fate.random.random() < 0.7:
            self._journal.note("blocked", f"{what} by {full[0]}", entity)
            raise Blocked(f"{full[0]} is used up", key=full[0], mend="raise it")
        if verb in ("seed", "apply", "issue", "observe") and self._fate.strikes("terminal", 0.015):
            self._journal.note("terminal", what, entity)
            raise Terminal("cannot be made so", mend="ask for something else")


def _passwords(step: StepContext) -> dict[int, str]:
    """Every live password by version; none of what has none."""
    return {version: secrets["password"] for version, secrets in step.live.items() if "password" in secrets}


def _instance(ref: ComponentRef) -> str:
    return f"{ref.component}@{ref.incarnation}"

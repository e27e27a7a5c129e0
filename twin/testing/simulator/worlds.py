"""The servers behind the targets: they take their time, refuse, lose replies, and act for callers that are dead.

What they promise is what `twin.ports.provider` asks of providers: idempotent by name; an attempt that has ended in a
living process acts no more; what a dead caller has sent takes effect within the deadline and the settle time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement
from twin.ports.provider import Applied, Observed, Resource, StepContext
from twin.testing.blueprints import TYPES
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.virtual_loop import START

TOO_MANY = "too many requests"
"""What a server says that asks for patience."""

_NAMES = re.compile(r"tw_[a-z0-9_]+")


class Thing(Struct):
    """One thing that stands. `refers`: names of others in its inputs. `stray`: made by an attempt that had ended."""

    name: str
    instance: str
    target: str
    inputs: dict[str, Any]
    password: str | None
    refers: frozenset[str]
    suspended: bool = False
    stray: bool = False


class Caller(Protocol):
    """The process that calls: its calls pass `passage`, and end for good when it has died. `provable`: its machine can
    tell its death."""

    name: str
    provable: bool

    @property
    def dead(self) -> bool: ...

    async def passage(self, when: str) -> None: ...


class Request(Struct, eq=False):
    """A request on its way. `latest` is the loop's time after which it has no effect any more."""

    caller: Caller
    effect: Callable[[bool], None]
    latest: float
    settle: float
    timer: asyncio.TimerHandle | None = None
    done: bool = False


class Worlds:
    """All that stands, by environment and name, and all that is on its way."""

    def __init__(self, fate: Fate, journal: Journal) -> None:
        self.standing: dict[str, dict[str, Thing]] = {}
        self.strayed: set[str] = set()
        self.told: dict[str, tuple[str, float]] = {}
        self.quotas: set[str] = set()
        self.calls = 0
        self._fate = fate
        self._journal = journal
        self._on_the_way: dict[Request, None] = {}

    def of(self, environment: str) -> dict[str, Thing]:
        """What stands with the mark of an environment."""
        return self.standing.get(environment, {})

    def send(self, request: Request, after: float) -> None:
        """Have it take effect."""
        self._on_the_way[request] = None
        request.timer = asyncio.get_running_loop().call_later(after, self._arrives, request)

    def withdraw(self, request: Request) -> None:
        """The caller lives and has ended its attempt: what has not happened does not happen any more."""
        if not request.caller.dead and request.timer is not None:
            request.timer.cancel()
            self._on_the_way.pop(request, None)

    def bereave(self, caller: Caller) -> None:
        """A process died: what it had sent happens never, soon, or late, or even twice."""
        loop = asyncio.get_running_loop()
        for request in [each for each in self._on_the_way if each.caller is caller]:
            if request.timer is not None:
                request.timer.cancel()
            self._on_the_way.pop(request)
            for _ in range(self._fate.random.choice((0, 1, 1, 1, 2)) if "late" in self._fate.rates else 1):
                bound = min(loop.time() + request.settle * 0.9, request.latest)
                if not caller.provable and self._fate.random.random() < 0.5:
                    bound = request.latest
                wait = (bound - loop.time()) * self._fate.random.random()
                if wait > 0:
                    self.send(msgspec.structs.replace(request), wait)

    def _arrives(self, request: Request) -> None:
        self._on_the_way.pop(request, None)
        request.done = True
        request.effect(request.caller.dead)

    def put(self, environment: str, thing: Thing) -> None:
        """Create or update; the password is set once and never again, as a server does that has it by its own."""
        here = self.standing.setdefault(environment, {})
        there = here.get(thing.name)
        if there is not None and there.password is not None:
            known = there.password == thing.password
            self._journal.must(known, "adoption meets an unknown password", thing.instance, environment)
        here[thing.name] = thing
        if thing.stray:
            self._stray(environment, f"apply of {thing.instance}")

    def take(self, environment: str, name: str, *, stray: bool) -> None:
        """Remove."""
        self.standing.get(environment, {}).pop(name, None)
        if stray:
            self._stray(environment, f"remove of {name}")

    def clear_by_hand(self, environment: str, target: str) -> None:
        """A human removes what an inventory has found."""
        here = self.standing.get(environment, {})
        for name in [each.name for each in here.values() if each.target == target]:
            del here[name]

    def _stray(self, environment: str, what: str) -> None:
        self._journal.note("late effect", what, environment)
        self.strayed.add(environment)


class Watch(Protocol):
    """What the oracle knows of a call before it is made."""

    def calls(self, environment: str, worker: str, ref: ComponentRef, verb: str, key: str) -> None: ...

    def runs_now(self, environment: str, worker: str, key: str) -> bool: ...


class SimulatedServer:
    """A provider of one target as one process sees it. See `twin.ports.provider.Provider` and `Suspends`."""

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
        password = step.secrets.get("password")
        inputs = dict(step.inputs)
        refers = frozenset(_NAMES.findall(msgspec.json.encode(inputs).decode())) - {ref.name}

        def effect(stray: bool) -> None:
            thing = Thing(ref.name, _instance(ref), self._target, inputs, password, refers, stray=stray)
            self._worlds.put(ref.environment, thing)

        await self._change(ref, "apply", step, effect)
        url = f"sim://{ref.name}:{password}@{self._target}"
        outputs = {"host": f"{ref.name}.host", "url": f"http://{ref.name}"}
        return Applied(external_id=ref.name, outputs=outputs, secrets={**step.secrets, "url": url})

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
        for thing in list(self._worlds.of(environment).values()):
            if thing.target == self._target:
                yield Resource(kind="thing", external_id=thing.name)

    async def close(self) -> None:
        """Nothing is open."""

    async def _change(self, ref: ComponentRef, verb: str, step: StepContext, effect: Callable[[bool], None]) -> None:
        self._watch.calls(ref.environment, self._caller.name, ref, verb, step.idempotency_key)
        await self._pass(ref, verb, step.idempotency_key)
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
        if verb in ("apply", "observe") and self._fate.strikes("terminal", 0.015):
            self._journal.note("terminal", what, entity)
            raise Terminal("cannot be made so", mend="ask for something else")


def _instance(ref: ComponentRef) -> str:
    return f"{ref.component}@{ref.incarnation}"

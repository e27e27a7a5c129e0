"""People: they visit environments, ask for good and bad things, repeat themselves, resolve blocks, and break things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from twin.domain.environment import Environment
from twin.domain.errors import NotFound, Problem, Unavailable
from twin.domain.signals import parse
from twin.domain.signals.create import Create
from twin.service.principals import Principal, Request
from twin.service.views import Accepted
from twin.testing.simulator.journal import Broken, Journal
from twin.testing.simulator.oracle import Oracle
from twin.testing.simulator.process import Died, Process
from twin.testing.simulator.setting import Fate, Setting
from twin.testing.simulator.virtual_loop import spawn
from twin.testing.simulator.worlds import Worlds

ADMIN = Principal("ann", (("*", "admin"),))
_TIERS = ("dev", "dev", "dev", "preview", "staging", "prod")
_COMPONENTS = ("db", "cache", "jobs", "app", "search", "nothing")

Ask = Callable[[Process, Request], Awaitable[Accepted]]


class People:
    """Everybody who uses the twins. `acknowledged`: what they were told is accepted, operation -> environment."""

    def __init__(
        self,
        setting: Setting,
        processes: Callable[[], Process],
        worlds: Worlds,
        oracle: Oracle,
        fate: Fate,
        journal: Journal,
    ) -> None:
        self.acknowledged: dict[str, str] = {}
        self.places: list[str | None] = [None] * setting.environments
        self._setting = setting
        self._process = processes
        self._worlds = worlds
        self._oracle = oracle
        self._fate = fate
        self._journal = journal
        self._requests = 0

    async def live(self) -> None:
        """Visit environments one after the other, each as often as the setting's pace says."""
        days = self._setting.pace / self._setting.environments
        for place in range(self._setting.environments):
            spawn(None, self._visit(place))
            await asyncio.sleep(self._fate.random.expovariate(1 / 20.0))
        visits = 0
        while self._setting.visits is None or visits < self._setting.visits:
            await asyncio.sleep(self._fate.random.expovariate(1 / (days * 86_400.0)))
            spawn(None, self._visit(self._fate.random.randrange(len(self.places))))
            visits += 1
        await asyncio.Event().wait()

    async def mend(self) -> None:
        """Resolve what is blocked, some hours later."""
        while True:
            # Bounded, for who waits when the calm begins must not outwait it.
            hours = 0.1 if self._fate.calm else min(self._fate.random.expovariate(1 / 4.0), 12.0)
            await asyncio.sleep(hours * 3600.0)
            await self.resolve()

    async def resolve(self) -> None:
        """Mend what blocks, and say so."""
        process = self._process()
        try:
            for block in await process.store.blocks():
                if self._fate.calm or self._fate.random.random() < 0.7:
                    self._worlds.quotas.discard(block.key)
                    if block.key.startswith("leftover/"):
                        _, environment, target = block.key.split("/")
                        self._worlds.clear_by_hand(environment, target)
                    await process.blocks.resolve(block.key, self._request())
                    self._journal.note("block resolved", block.key)
        except (Unavailable, NotFound, Died):
            return

    async def send(self, environment: str, signal: str, **fields: Any) -> Accepted | None:
        """Send a signal, and do not rest before there is an answer; None if it was refused."""
        return await self._until_answered(
            lambda process, request: process.twins.send(environment, parse({"signal": signal, **fields}), request)
        )

    async def _visit(self, place: int) -> None:
        """See to an environment: make it if there is none, or send it a few signals."""
        environment = self.places[place]
        env = self._oracle.state(environment) if environment is not None else None
        if env is None or env.released:
            await self._create(place)
            return
        random = self._fate.random
        if self._fate.strikes("vandal", 0.1) and (things := self._worlds.of(env.id)):
            thing = things[random.choice(sorted(things))]
            self._journal.note("vandal", thing.instance, env.id)
            self._worlds.strayed.add(env.id)
            if random.random() < 0.5:
                del things[thing.name]
            else:
                thing.inputs = {**thing.inputs, "by": "hand"}
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            signal = self._signal(self._oracle.state(env.id))
            await self.send(env.id, signal.pop("signal"), **signal)
            await asyncio.sleep(random.choice((0.0, 0.1, 3.0, 30.0, 600.0)) * random.random())

    async def _create(self, place: int) -> None:
        random = self._fate.random
        body = {
            "signal": "create",
            "name": f"env-{place}",
            "project": "shop",
            "blueprint": random.choice(("guestbook@1.0.0", "guestbook@2.0.0", "guestbook@3.0.0")),
            "tier": random.choice(_TIERS),
        }
        create = parse(body)
        assert isinstance(create, Create)
        accepted = await self._until_answered(lambda process, request: process.twins.create(create, request))
        if accepted is not None:
            self.places[place] = accepted.environment_id

    def _request(self) -> Request:
        self._requests += 1
        return Request(ADMIN, f"req-{self._requests}", f"key-{self._requests}")

    async def _until_answered(self, ask: Ask) -> Accepted | None:
        """Ask under one Idempotency-Key until there is an answer, now and then twice at once."""
        request = self._request()
        first: Accepted | None = None
        again = self._fate.random.random() < 0.05
        while True:
            process = self._process()
            asking = spawn(process.tasks, self._ask(ask, process, request))
            await asyncio.wait([asking], timeout=20.0)
            if not asking.done() and self._fate.random.random() < 0.5:
                asking.cancel()  # hang up
            answer = asking.result() if asking.done() and not asking.cancelled() else None
            if isinstance(answer, Problem):
                return first
            if isinstance(answer, Accepted):
                if first is not None:
                    same = answer.operation.id == first.operation.id
                    self._journal.must(same, "a repeated request is done twice", request.id, first.environment_id)
                self._acknowledge(answer)
                first = answer
                if not again:
                    return first
                again = False
                continue
            await asyncio.sleep(self._fate.random.uniform(0.1, 20.0))

    async def _ask(self, ask: Ask, process: Process, request: Request) -> Accepted | Problem | None:
        try:
            return await ask(process, request)
        except Unavailable:
            return None
        except Problem as problem:
            return problem
        except (Died, asyncio.CancelledError):
            return None
        except Broken:
            raise
        except Exception as error:
            self._journal.broken("a request ends in a program error", repr(error))
            raise

    def _acknowledge(self, accepted: Accepted) -> None:
        operation = accepted.operation.id
        known = self._oracle.accepted.get(operation) == accepted.environment_id
        self._journal.must(known, "what was acknowledged was never committed", operation, accepted.environment_id)
        self.acknowledged[operation] = accepted.environment_id

    def _signal(self, env: Environment) -> dict[str, Any]:
        """Something to ask for; often nonsense."""
        random, choice = self._fate.random, self._fate.random.choice
        component = choice(_COMPONENTS)
        roll = random.random()
        if roll < 0.25:
            to = {"replicas": choice((0, 1, 2, 4, 99))} if component != "db" else {"connections": choice((10, 11, 12))}
            return {"signal": "scale", "component": component, "to": to}
        if roll < 0.5:
            inputs = {choice(("greeting", "engine", "zone", "region", "replicas")): choice(("a", "b", None, 2, 3))}
            body: dict[str, Any] = {"signal": "update", "inputs": inputs, "allow_data_loss": random.random() < 0.7}
            if random.random() < 0.4:
                body["blueprint"] = choice(("guestbook@1.0.0", "guestbook@2.0.0", "guestbook@3.0.0", "other"))
            return body
        if roll < 0.56:
            kind = choice(("test.service", "test.cache", "test.nothing"))
            needs = choice(([], ["db"], ["cache"]))
            return {"signal": "add_component", "component": choice(_COMPONENTS[2:5]), "type": kind, "needs": needs}
        if roll < 0.62:
            return {"signal": "remove_component", "component": component}
        if roll < 0.7:
            return {"signal": "resume" if env.desired.suspended else choice(("suspend", "resume"))}
        if roll < 0.76:
            return {"signal": "retry", **({"component": component} if random.random() < 0.5 else {})}
        if roll < 0.82:
            return {"signal": "detect_drift", **({"component": component} if random.random() < 0.5 else {})}
        if roll < 0.88 and env.operations:
            # To cancel a creation destroys: seldom enough, or nothing would ever live.
            running = [each.id for each in env.operations.values() if each.signal != "create" or random.random() < 0.2]
            return {"signal": "cancel", "operation": choice(running or ["op_none"])}
        if roll < 0.91:
            return {"signal": "extend", "ttl": choice(("1h", "24h", "72h", "never", "yesterday"))}
        if roll < 0.94:
            return {"signal": choice(("protect", "unprotect", "unprotect"))}
        return {"signal": "destroy"}

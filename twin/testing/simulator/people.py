"""People: they visit environments, ask for good and bad things, repeat themselves, resolve blocks, and break things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

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
from twin.testing.simulator.wishes import cloning, newest, wish
from twin.testing.simulator.worlds import Worlds

ADMIN = Principal("ann", (("*", "admin"),))
_TIERS = ("dev", "dev", "dev", "preview", "staging", "prod")

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
        """Resolve what is blocked and acknowledge new credentials, some hours later."""
        while True:
            # Bounded, for who waits when the calm begins must not outwait it.
            hours = 0.1 if self._fate.calm else min(self._fate.random.expovariate(1 / 4.0), 12.0)
            await asyncio.sleep(hours * 3600.0)
            await self.resolve()
            for entity in [each for each in self.places if each is not None]:
                if self._oracle.waits_for_acknowledgement(entity):
                    state = self._oracle.state(entity)
                    await self.send(entity, "acknowledge_credential", component="db", version=newest(state))

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
                    if block.key.startswith("rotation/") and (self._fate.calm or self._fate.random.random() < 0.5):
                        for entity in block.entities:  # as its mend says; to resolve it alone mends nothing
                            await self.send(entity, "retry")
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
        random = self._fate.random
        if env is None or env.released:
            source = random.choice(self.places)
            if source is None or random.random() < 0.4 or not await self._clone(source, place):
                await self._create(place)
            return
        for thing in self._worlds.of(env.id).values():
            thing.writes += 1
        if self._fate.strikes("vandal", 0.1) and (things := self._worlds.of(env.id)):
            thing = things[random.choice(sorted(things))]
            self._journal.note("vandal", thing.instance, env.id)
            self._worlds.strayed.add(env.id)
            if random.random() < 0.5:
                del things[thing.name]
            else:
                thing.inputs = {**thing.inputs, "by": "hand"}
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            signal = wish(self._oracle.state(env.id), random)
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

    async def _clone(self, source: str, place: int) -> bool:
        """Have a copy of another environment in this place, and work on both meanwhile; False if it was refused."""
        random = self._fate.random
        body = cloning(f"env-{place}", random)
        accepted = await self.send(source, body.pop("signal"), **body)
        if accepted is None:
            return False
        self.places[place] = accepted.environment_id
        for _ in range(random.choice((0, 0, 1, 2))):
            await asyncio.sleep(random.choice((0.1, 3.0, 30.0)) * random.random())
            entity = random.choice((source, source, accepted.environment_id))
            signal: dict[str, Any] = {"signal": "destroy", "force": entity == source and random.random() < 0.5}
            if random.random() < 0.5:
                signal = wish(self._oracle.state(entity), random)
            await self.send(entity, signal.pop("signal"), **signal)
        return True

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

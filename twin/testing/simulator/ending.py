"""The end of a run: faults stop, blocks are lifted. Now all must come to rest, be as desired, and then be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twin.domain.environment import Environment, Instance
from twin.domain.errors import Unavailable
from twin.domain.members import SECRET, access_of
from twin.domain.planner import plan
from twin.domain.references import Reference, resolve
from twin.domain.rotation import newest
from twin.domain.seeding import to_copy
from twin.domain.status import status
from twin.domain.twin import ENVIRONMENT
from twin.store import SqlStore
from twin.testing.simulator.database import Database
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.oracle import Oracle
from twin.testing.simulator.people import People
from twin.testing.simulator.pulls.ending import PullEnding
from twin.testing.simulator.virtual_loop import START
from twin.testing.simulator.worlds import Worlds

_PATIENCE = 24 * 3600.0
"""Seconds in which all must have come to rest: ten minutes of a delayed destruction, retries, and some blocks."""

_LEFT = (
    "SELECT entity, kind, key FROM tasks WHERE (kind IN ('step', 'block') OR due_at <= ?)"
    " AND entity_kind NOT IN ('pull_request', 'preview_source', 'inbox') LIMIT 1"
)
_KEPT = "SELECT version, sealed FROM secrets WHERE entity = ? AND component = ? AND name = ?"
_DISAGREE = "SELECT id FROM operations WHERE outcome IS NULL LIMIT 1"


class Ending:
    """What must hold at the end. Each part begins when the one before has come to rest."""

    def __init__(
        self,
        people: People,
        worlds: Worlds,
        oracle: Oracle,
        database: Database,
        pulls: PullEnding,
        journal: Journal,
        look: Callable[[], None],
    ) -> None:
        self._people = people
        self._worlds = worlds
        self._oracle = oracle
        self._database = database
        self._pulls = pulls
        self._journal = journal
        self._look = look

    async def come(self, store: SqlStore) -> None:
        """Rest; be as desired; be gone; agree with every record."""
        await self._pulls.prepare()
        await self._rest()
        self._pulls.check()
        living = [entity for entity in self._environments() if not self._gone(entity)]
        for entity in living:
            for signal in ("unprotect", "resume", "retry"):
                await self._people.send(entity, signal)
            if entity in self._worlds.strayed:
                await self._people.send(entity, "detect_drift")
        await self._rest()
        self._pulls.check()
        for entity in living:
            self._as_desired(self._oracle.state(entity))
        self._pulls.close_all()
        for entity in living:
            if self._oracle.state(entity).follower is None:
                await self._people.send(entity, "destroy")
        await self._rest()
        self._pulls.check()
        self._all_gone()
        await self._pulls.remove_sources()
        await self._rest()
        self._pulls.all_over()
        await self._records_agree(store)

    def _environments(self) -> list[str]:
        return [entity for entity in self._oracle.lives if entity.startswith("env_")]

    def _gone(self, entity: str) -> bool:
        return self._oracle.state(entity).certificate is not None

    async def _rest(self) -> None:
        """Until nothing is left to do; bounded."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        self._pulls.begin()
        while (left := self._unrest()) is not None:
            self._look()
            if loop.time() > until:
                entity, what = left
                raise self._journal.broken("it never comes to rest", what, entity)
            await asyncio.sleep(20.0)
        self._look()

    def _unrest(self) -> tuple[str | None, str] | None:
        now = int((asyncio.get_running_loop().time() + 1_767_225_600) * 1_000_000)
        row = self._database.raw.execute(_LEFT, (now,)).fetchone()
        if row is not None:
            return row[0], f"{row[1]} {row[2]}"
        if (left := self._pulls.unrest(self._database.raw)) is not None:
            return left
        for entity in self._environments():
            env = self._oracle.state(entity)
            waits = env.desired.suspended and env.desired.departure is None  # for a resume
            if env.operations and not waits:
                return entity, f"operation {next(iter(env.operations))} does not end"
            retiring = [str(step.key) for step in plan(env).steps if step.key.verb == "retire"]
            if retiring and all(failure.kind != "terminal" for failure in env.failures.values()):  # else for a retry
                return entity, f"a grace does not end: {retiring}"  # also of a rotation whose operation has failed
        return None

    def _as_desired(self, env: Environment) -> None:
        """The world holds what is desired, each once and as it should be, and nothing else."""
        must = self._journal.must
        if env.departing or env.certificate is not None:
            return
        held = {hold.name for hold in env.holds.values()}
        must(not held, "a source waits for clones that copy no more", str(held), env.id)
        if self._cannot_be_seeded(env):
            must(status(env) == "failed", "a clone without a source does not say so", status(env), env.id)
            return
        self._in_time(env)
        must(status(env) == "ready" and not plan(env).steps, "it does not become ready", status(env), env.id)
        things = self._worlds.of(env.id)
        wanted = {
            env.ref(name, each.incarnation, each.type).name: name for name, each in env.desired.components.items()
        }
        missing = sorted(wanted.keys() - things.keys())
        must(not missing, "what is desired does not stand", str(missing), env.id)
        extra = sorted(name for name in things.keys() - wanted.keys() if env.id not in self._worlds.strayed)
        must(not extra, "what is not desired stands", str(extra), env.id)
        for place, name in wanted.items():
            thing, instance = things[place], env.current(name)
            meant = resolve(env.desired.components[name].inputs, lambda each: self._value(env, each))
            must(thing.inputs == meant, "it does not stand as desired", f"{name}: {thing.inputs} != {meant}", env.id)
            must(not thing.suspended, "it is stopped", name, env.id)
            must(instance is not None and not instance.drift, "drift is left", name, env.id)
            assert instance is not None
            self._kept_as_it_is(env, instance, place)
        self._oracle.rest.entered(env)
        if env.id not in self._worlds.strayed:
            self._oracle.rest.taken_over(env)

    def _in_time(self, env: Environment) -> None:
        """What had its time is over: memberships, and credentials that live for a while only."""
        must, now = self._journal.must, START + timedelta(seconds=asyncio.get_running_loop().time() - 60.0)
        guests = [name for name, each in env.desired.members.items() if each.until is not None and each.until < now]
        must(not guests, "a membership does not end", str(guests), env.id)
        for name, wanted in env.desired.components.items():
            every, instance = wanted.rotate_every, env.current(name)
            for credential in instance.credentials if instance is not None and every is not None else ():
                assert every is not None
                assert credential.issued_at is not None
                old = credential.issued_at + timedelta(seconds=every) < now
                must(not old, "a credential lives for longer than it may", f"{name} {credential.version}", env.id)

    def _kept_as_it_is(self, env: Environment, instance: Instance, name: str) -> None:
        """The vault knows exactly the passwords with which one may enter."""
        must, logins = self._journal.must, self._worlds.who(env.id, name)
        for version, password in logins.roles.items():
            kept = self._kept(env.id, instance.key, "password").get(version)
            must(kept == password, "the vault does not know the password", instance.key, env.id)
        more = sorted(self._kept(env.id, instance.key, "password").keys() - logins.roles.keys())
        must(not more, "the vault keeps what opens nothing", f"{instance.key}: {more}", env.id)
        for person, (_, password) in logins.people.items():
            kept = self._kept(env.id, access_of(instance.key), f"{person}/{SECRET}").get(1)
            must(kept == password, "the vault does not know a member's password", person, env.id)

    def _kept(self, entity: str, component: str, name: str) -> dict[int, str]:
        """What is kept under a name, by version."""
        rows = self._database.raw.execute(_KEPT, (entity, component, name))
        return {version: bytes(sealed).decode().rsplit("|", 1)[1] for version, sealed in rows}

    def _cannot_be_seeded(self, env: Environment) -> bool:
        """Whether a clone still has to copy from what is gone, or is no more what it was."""
        if env.desired.seed is None:
            return False
        source = self._oracle.state(env.desired.seed.source)
        instances = {env.desired.seed.components[name] for name in to_copy(env)}
        return bool(instances) and (source.id in self._worlds.strayed or not instances <= source.instances.keys())

    def _value(self, env: Environment, reference: Reference) -> Any:
        component = reference.component or ""
        instance = env.current(component)
        if instance is None:
            return None
        if reference.kind == "outputs":
            return instance.outputs.get(reference.name)
        name = env.ref(component, instance.incarnation, instance.type).name
        password = self._worlds.who(env.id, name).roles.get(newest(instance))
        return f"sim://{name}:{password}@{instance.placement.target}"

    def _all_gone(self) -> None:
        for entity in self._environments():
            self._journal.must(self._gone(entity), "it is not destroyed", "", entity)
            left = sorted(name for name, _ in self._worlds.marked(entity))
            self._journal.must(not left, "destroyed, and it stands", str(left), entity)

    async def _records_agree(self, store: SqlStore) -> None:
        """What was acknowledged is there and has ended; chains verify; the whole fold is the last state."""
        must, oracle = self._journal.must, self._oracle
        for operation, entity in self._people.acknowledged.items():
            must(operation in oracle.ended, "an acknowledged operation has no end", operation, entity)
        row = self._database.raw.execute(_DISAGREE).fetchone()
        must(row is None, "an operation's row has no end", str(row))
        try:
            verified = await store.verify()
            must(not verified.findings, "a chain does not verify", str(verified.findings))
            must(verified.events == oracle.events, "events were lost", f"{verified.events} of {oracle.events}")
            for entity in self._environments():
                folded = await store.history(ENVIRONMENT.kind, entity)
                must(folded == oracle.state(entity), "the fold of the whole history is another", "", entity)
        except Unavailable as refusal:
            raise self._journal.broken("the database refuses in calm", refusal.message) from refusal

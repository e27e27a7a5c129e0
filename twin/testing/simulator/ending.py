"""The end of a run: faults stop, blocks are lifted. Now all must come to rest, be as desired, and then be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twin.domain.environment import Environment
from twin.domain.errors import Unavailable
from twin.domain.planner import plan
from twin.domain.references import Reference, resolve
from twin.domain.status import status
from twin.domain.twin import ENVIRONMENT
from twin.store import SqlStore
from twin.testing.simulator.database import Database
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.oracle import Oracle
from twin.testing.simulator.people import People
from twin.testing.simulator.worlds import Worlds

_PATIENCE = 24 * 3600.0
"""Seconds in which all must have come to rest: ten minutes of a delayed destruction, retries, and some blocks."""

_LEFT = "SELECT entity, kind, key FROM tasks WHERE kind IN ('step', 'block') OR due_at <= ? LIMIT 1"
_PASSWORD = "SELECT sealed FROM secrets WHERE entity = ? AND component = ? AND name = 'password'"  # noqa: S105
_DISAGREE = "SELECT id FROM operations WHERE outcome IS NULL LIMIT 1"


class Ending:
    """What must hold at the end. Each part begins when the one before has come to rest."""

    def __init__(
        self,
        people: People,
        worlds: Worlds,
        oracle: Oracle,
        database: Database,
        journal: Journal,
        look: Callable[[], None],
    ) -> None:
        self._people = people
        self._worlds = worlds
        self._oracle = oracle
        self._database = database
        self._journal = journal
        self._look = look

    async def come(self, store: SqlStore) -> None:
        """Rest; be as desired; be gone; agree with every record."""
        await self._rest()
        living = [entity for entity in self._environments() if not self._gone(entity)]
        for entity in living:
            for signal in ("unprotect", "resume", "retry"):
                await self._people.send(entity, signal)
            if entity in self._worlds.strayed:
                await self._people.send(entity, "detect_drift")
        await self._rest()
        for entity in living:
            self._as_desired(self._oracle.state(entity))
        for entity in living:
            await self._people.send(entity, "destroy")
        await self._rest()
        self._all_gone()
        await self._records_agree(store)

    def _environments(self) -> list[str]:
        return [entity for entity in self._oracle.lives if entity.startswith("env_")]

    def _gone(self, entity: str) -> bool:
        return self._oracle.state(entity).certificate is not None

    async def _rest(self) -> None:
        """Until nothing is left to do; bounded."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
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
        for entity in self._environments():
            env = self._oracle.state(entity)
            waits = env.desired.suspended and env.desired.departure is None  # for a resume
            if env.operations and not waits:
                return entity, f"operation {next(iter(env.operations))} does not end"
        return None

    def _as_desired(self, env: Environment) -> None:
        """The world holds what is desired, each once and as it should be, and nothing else."""
        must = self._journal.must
        if env.departing or env.certificate is not None:
            return
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
            if thing.password is not None:
                row = self._database.raw.execute(_PASSWORD, (env.id, thing.instance)).fetchone()
                kept = None if row is None else bytes(row[0]).decode().rsplit("|", 1)[1]
                must(kept == thing.password, "the vault does not know the password", name, env.id)

    def _value(self, env: Environment, reference: Reference) -> Any:
        component = reference.component or ""
        instance = env.current(component)
        if instance is None:
            return None
        if reference.kind == "outputs":
            return instance.outputs.get(reference.name)
        name = env.ref(component, instance.incarnation, instance.type).name
        password = self._worlds.of(env.id)[name].password
        return f"sim://{name}:{password}@{instance.placement.target}"

    def _all_gone(self) -> None:
        for entity in self._environments():
            self._journal.must(self._gone(entity), "it is not destroyed", "", entity)
            left = sorted(self._worlds.of(entity))
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

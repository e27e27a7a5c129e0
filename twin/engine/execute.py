"""Executing a task: commit the intent, call the provider outside of any transaction, commit the result.

Shared by all engines. Between the two commits a crash leaves a running attempt that a reaper declares lost; the next
one then looks before it acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace

from twin.domain.component_type import ComponentType
from twin.domain.decider import Cause
from twin.domain.environment import Environment
from twin.domain.errors import Unavailable, Unreadable
from twin.domain.events import StepStarted, StepSucceeded
from twin.domain.identity import TWIN, Actor, EnvironmentId, Placement
from twin.domain.project import PROJECT, TELL
from twin.domain.seeding import over
from twin.domain.steps import (
    EndHold,
    EndStep,
    FireTimer,
    LiftBlock,
    LoseStep,
    Result,
    StartStep,
    StepKey,
    Succeeded,
    TellSource,
)
from twin.domain.timers import FOLLOWER, RELEASE
from twin.domain.twin import ENVIRONMENT
from twin.engine.attempts import Attempt
from twin.engine.calls import Library, Mask, call, stopped
from twin.engine.errands import ErrandRunner
from twin.engine.following import Following
from twin.engine.placing import configured
from twin.engine.progress import Progress
from twin.engine.secrets import Secrets, Values
from twin.engine.telling import Telling
from twin.ports.changes import Changes, Watch
from twin.ports.clock import Clock
from twin.ports.errands import Errands
from twin.ports.store import Claimed, Tx, WorkerStore
from twin.ports.targets import OpenTargets
from twin.ports.vault import Vault

T = TypeVar("T")
Lease = tuple[str, str, int]
"""Entity, step and epoch."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_PUT_OFF = 30.0
"""Seconds until a task that this version does not understand is offered again."""

_WATCH = 5.0
"""Seconds between looks at whether a running step is still wanted, should a hint be missed."""


class Executor:
    """Executes tasks for one worker. `deadline` bounds every attempt, in seconds, instead of its type's own. `errands`
    are those of the kinds of entities that are no environments."""

    def __init__(
        self,
        *,
        worker: str,
        store: WorkerStore,
        types: Mapping[str, ComponentType],
        targets: OpenTargets,
        vault: Vault,
        changes: Changes,
        clock: Clock,
        deadline: float | None = None,
        errands: Mapping[str, Errands] = MappingProxyType({}),
    ) -> None:
        self._worker = worker
        self._store = store
        self._targets = targets
        self._secrets = Secrets(vault, types)
        self._changes = changes
        self._telling = Telling(store, changes)
        self._following = Following(store, changes)
        self._errands = ErrandRunner(worker, errands, changes, self._persist, store.put_off)
        self._clock = clock
        self._deadline = deadline
        self.room: Callable[[], int] = lambda: 0
        """How many steps may begin at once in the transaction that makes them due; set by an engine that can."""
        self.begun: set[Lease] = set()
        """What `begin` has given out and `run` has not yet got: if no answer came to its COMMIT, nobody will run it."""

    async def step(self, task: Claimed) -> Sequence[Attempt]:
        """Run the step of a claimed task to its result. Returns what its result let begin, as `run` does."""
        if self._errands.knows(task.entity_kind):
            await self._errands.run(task)
            return ()
        if task.entity_kind != ENVIRONMENT.kind:  # of another service on this database, which has what it takes
            await self._store.put_off(task, _PUT_OFF)
            return ()
        try:
            attempt = await self._persist(lambda tx: self._start_held(tx, task), task.key)
        except Unavailable as refusal:
            # Written by a newer version of the twin: its workers will understand it.
            log.warning("step put off", environment=task.entity, step=task.key, problem=refusal.message)
            await self._store.put_off(task, _PUT_OFF)
            return ()
        return () if attempt is None else await self.run(attempt)

    async def run(self, attempt: Attempt) -> Sequence[Attempt]:
        """Make the call of a begun attempt and commit its result. Cancelling it ends the attempt as stopped.

        Returns the attempts that were begun in the transaction of the result: they are to be run next.
        """
        task = attempt.task
        self.begun.discard(lease_of(task))
        self._changes.notify(task.entity)
        logger = log.bind(environment=task.entity, step=str(attempt.key), attempt=attempt.running.attempt)
        logger.info("step started", target=attempt.running.target)
        result, secrets = await self._call(attempt)
        begun = await self._persist(lambda tx: self._end(tx, attempt, result, secrets), task.key)
        self._changes.notify(task.entity)
        logger.info("step ended", result=type(result).__struct_config__.tag, message=getattr(result, "message", ""))
        return begun

    def begin(self, tx: Tx, entity: str) -> Sequence[Attempt]:
        """Claim and start the entity's due steps in the transaction that made them due, as far as there is room.

        A target with a rate is left to the worker's own claims, which count its starts.
        """
        if (room := self.room()) <= 0:
            return ()
        ceilings = {target.name: target.concurrency for target in tx.targets() if not target.rate}
        claimed = tx.claim(self._worker, entity, room, ceilings)
        attempts = [attempt for task in claimed if (attempt := self._start(tx, task)) is not None]
        self.begun.update(lease_of(attempt.task) for attempt in attempts)
        return attempts

    async def timer(self, task: Claimed) -> None:
        """Deliver a timer or a resolved block."""
        if task.kind == "timer" and task.key.startswith(RELEASE):
            await self._release(task)
            return
        if task.kind == "timer" and task.entity_kind == ENVIRONMENT.kind and task.key == FOLLOWER:
            await self._following.tell(task.entity)
            return
        if task.kind == "timer" and task.entity_kind == PROJECT.kind and task.key == TELL:
            await self._telling.tell(task.entity)
            return
        if task.kind == "block":
            given: FireTimer | LiftBlock = LiftBlock(task.key)
            cause = Cause(TWIN)
        else:
            given, cause = FireTimer(task.key), Cause(Actor("timer", task.key))

        def fire(tx: Tx) -> None:
            # A block may have been lifted by another and raised anew since the task was read: then it stays.
            if task.kind != "block" or tx.take(task):
                tx.transition(task.entity_kind, task.entity, given, cause)

        await self._store.transact(fire)
        self._changes.notify(task.entity)

    async def _release(self, task: Claimed) -> None:
        """A clone tells its source that it copies no more. Both are locked in the order of their ids."""
        clone, source = task.entity, task.key.removeprefix(RELEASE)

        def release(tx: Tx) -> None:
            states = {entity: tx.state(task.entity_kind, entity) for entity in sorted((clone, source))}
            if (why := over(states[clone])) is None:
                return
            if states[source] is not None:
                given = EndHold(clone=EnvironmentId(clone), why=why)
                tx.transition(task.entity_kind, source, given, Cause(TWIN))
            tx.transition(task.entity_kind, clone, TellSource(), Cause(TWIN))

        await self._store.transact(release)
        for entity in (clone, source):
            self._changes.notify(entity)

    async def lost(self, task: Claimed, *, proven_dead: bool) -> bool:
        """Declare the attempt of a dead worker lost, so that another goes on. False if it came to an end after all, or
        somebody else has declared it lost."""

        def lose(tx: Tx) -> bool:
            if not tx.release(task, died=True):
                return False
            if self._errands.knows(task.entity_kind):  # it is simply run again
                return True
            given = LoseStep(key=StepKey.parse(task.key), epoch=task.epoch, proven_dead=proven_dead)
            tx.transition(task.entity_kind, task.entity, given, Cause(TWIN))
            return True

        if not await self._store.transact(lose):
            return False
        self._changes.notify(task.entity)
        log.warning("step lost with its worker", environment=task.entity, step=task.key, proven_dead=proven_dead)
        return True

    def _start_held(self, tx: Tx, task: Claimed) -> Attempt | None:
        """Start it, unless the lease was lost since it was claimed."""
        return self._start(tx, task) if tx.holds(task, self._worker) else None

    def _start(self, tx: Tx, task: Claimed) -> Attempt | None:
        """The intent: committed before the call, and with it every secret that we mint for it."""
        key = StepKey.parse(task.key)
        before: Environment = tx.state(task.entity_kind, task.entity)
        target = next((each for each in tx.targets() if each.name == task.queue), None)
        place = configured(target) if target is not None else Placement(task.queue, "not configured")
        mine = before.running.get(task.key)
        env = before
        if mine is None or (mine.worker, mine.epoch) != (self._worker, task.epoch):
            given = StartStep(key=key, epoch=task.epoch, worker=self._worker, placement=place, deadline=self._deadline)
            done = tx.transition(task.entity_kind, task.entity, given, Cause(TWIN))
            if not any(isinstance(each.event, StepStarted) for each in done.events):
                tx.release(task)
                return None
            env = done.after
        # Else this very start was committed and the answer to its COMMIT was lost: it goes on.
        running = env.running[task.key]
        instance = env.instances.get(key.instance)
        inputs = running.inputs if key.verb in ("apply", "seed") else instance.inputs if instance is not None else {}
        self._secrets.mint(tx, env, running)
        wanted = env.desired.components.get(key.component)
        return Attempt(
            task=task,
            key=key,
            running=running,
            env=env,
            unknown=task.key in before.deaths,
            placement=instance.placement if instance is not None else env.placements.get(running.target),
            configured=place,
            secrets=self._secrets.opened(tx, env, running, inputs),
            bundle=wanted.bundle if wanted is not None else None,
        )

    async def _call(self, attempt: Attempt) -> tuple[Result, Values]:
        """The call, ended early when the step is not wanted any more or the worker drains."""
        # People are not woken for it: whoever follows looks often enough, and so would each running step of the twin.
        progress = Progress(partial(self._store.tell, attempt.task), Mask(attempt, self._targets))
        with self._changes.watch(attempt.task.entity) as watch:
            library = Library(self._read_bundle, self._read_environment, progress.tell)
            work = asyncio.create_task(call(attempt, self._targets, library, self._clock.now()), name=str(attempt.key))
            try:
                await asyncio.sleep(0)
                if not work.done():  # it waits for somebody outside: we look meanwhile whether it is still wanted
                    await self._done_or_unwanted(work, attempt, watch)
                if not work.done():
                    return await _ended(work, "cancelled")
                return work.result()
            except asyncio.CancelledError:
                return await _ended(work, "the worker drains")
            finally:
                await progress.close()

    async def _done_or_unwanted(self, work: asyncio.Task[Any], attempt: Attempt, watch: Watch) -> None:
        unwanted = asyncio.create_task(self._unwanted(attempt, watch))
        try:
            await asyncio.wait({work, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            unwanted.cancel()
            await asyncio.gather(unwanted, return_exceptions=True)

    async def _unwanted(self, attempt: Attempt, watch: Watch) -> None:
        """Returns once the attempt is cancelled or another has taken its place."""
        while True:
            await watch.changed(_WATCH)
            try:
                row = await self._store.entity(attempt.task.entity_kind, attempt.task.entity)
            except Unavailable:
                continue
            running = row.state.running.get(attempt.task.key) if row is not None else None
            if running is None or running.epoch != attempt.running.epoch or running.cancelled:
                return

    async def _read_bundle(self, digest: str) -> bytes:
        content = await self._store.transact(lambda tx: tx.bundle(digest))
        if content is None:
            raise Unavailable(f"bundle {digest} is not in the store")
        return content

    async def _read_environment(self, environment: str) -> Environment | None:
        row = await self._store.entity(ENVIRONMENT.kind, environment)
        return row.state if row is not None else None

    async def _persist(self, fn: Callable[[Tx], T], step: str) -> T:
        """Commit; while the database refuses, wait for it: a leased task is not dropped, and a call that was made is
        not forgotten."""
        wait = 0.1
        while True:
            try:
                return await self._store.transact(fn)
            except Unavailable as refusal:
                if refusal.code == "newer_schema":
                    raise
                log.warning("step waits for the database", step=step, problem=refusal.message)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    def _end(self, tx: Tx, attempt: Attempt, result: Result, secrets: Values) -> Sequence[Attempt]:
        kind, entity, key = ENVIRONMENT.kind, attempt.task.entity, attempt.key
        version, same = 1, False
        if isinstance(result, Succeeded) and key.verb in ("apply", "issue"):
            version, same = self._credential_version(tx, attempt, secrets)
            result = replace(result, credential_version=version)
        given = EndStep(key=key, epoch=attempt.running.epoch, result=result)
        done = tx.transition(kind, entity, given, Cause(TWIN))
        if not same and any(isinstance(each.event, StepSucceeded) for each in done.events):
            self._secrets.keep(tx, done.after, attempt.running, secrets)
        next_ones = any(spec.kind == "step" and spec.due is not None for spec in done.tasks)
        return self.begin(tx, entity) if next_ones else ()

    def _credential_version(self, tx: Tx, attempt: Attempt, secrets: Values) -> tuple[int, bool]:
        """Raised when what consumers are to use has changed, so that they are applied anew; and whether the secrets
        that are kept are the same."""
        env: Environment = tx.state(ENVIRONMENT.kind, attempt.task.entity)
        instance = env.instances.get(attempt.key.instance)
        if instance is None or instance.digest is None:
            return 1, False
        if attempt.key.verb == "issue":
            return instance.credential_version + 1, False
        try:
            same = self._secrets.newest(tx, env, instance) == secrets
        except Unreadable:
            same = False
        return instance.credential_version + (not same), same


def lease_of(task: Claimed) -> Lease:
    """What tells a lease from all others."""
    return task.entity, task.key, task.epoch


async def _ended(work: asyncio.Task[tuple[Result, Values]], why: str) -> tuple[Result, Values]:
    """Cancel the call and wait until it has ended: what it managed to finish counts."""
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    if work.cancelled() or work.exception() is not None:
        return stopped(why), {}
    return work.result()

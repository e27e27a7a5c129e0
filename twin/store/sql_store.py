"""The store: `Store` and `Queue` over a driver. Each call is one function of the file of its subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url

from twin.domain.decider import Decider
from twin.domain.errors import Invalid
from twin.domain.platform import PLATFORM_ID
from twin.domain.targets import Target
from twin.ports.clock import Clock
from twin.ports.store import (
    Claimed,
    EntityRow,
    EventFilter,
    OperationRow,
    Page,
    StoredBlock,
    StoredBlueprint,
    StoredDelivery,
    StoredSecret,
    StoredToken,
    Tx,
    Verification,
)
from twin.store import access, audit, blocks, ciphertexts, deliveries, library, reads, tasks
from twin.store.moments import from_micros, optional_micros, optional_moment
from twin.store.transact import Deciders, Driver
from twin.store.tx import SqlTx

T = TypeVar("T")


class SqlStore:
    """Durable state in SQLite or PostgreSQL; made by `open_store`."""

    def __init__(self, driver: Driver, deciders: Deciders) -> None:
        self._driver = driver
        self._deciders = deciders

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction; returns after COMMIT."""
        deciders = self._deciders
        return await self._driver.write(lambda tx: fn(SqlTx(tx, deciders)))

    async def close(self) -> None:
        """Finish what is queued and give back connections and locks."""
        await self._driver.close()

    async def entity(self, kind: str, entity: str) -> EntityRow | None:
        """One entity by id."""
        return await self._driver.look(lambda c: reads.entity(c, self._deciders, kind, entity))

    async def named(self, kind: str, project: str, name: str) -> EntityRow | None:
        """The live entity of that name, or else the newest that had it."""
        return await self._driver.look(lambda c: reads.named(c, self._deciders, kind, project, name))

    async def entities(
        self,
        kind: str,
        *,
        project: str | None = None,
        tier: str | None = None,
        status: str | None = None,
        labels: dict[str, str] | None = None,
        live: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """EntityRows in the order of their ids; with `live` False, also those whose name is free again."""
        return await self._driver.read(
            lambda c: reads.entity_page(
                c,
                self._deciders,
                kind,
                project=project,
                tier=tier,
                status=status,
                labels=labels,
                live=live,
                limit=limit,
                after=after,
            )
        )

    async def progress(self, entity: str) -> Mapping[str, str]:
        """What the running steps of an entity say."""
        return await self._driver.look(lambda c: tasks.told(c, entity))

    async def operation(self, operation_id: str) -> OperationRow | None:
        """One operation by id."""
        return await self._driver.look(lambda c: reads.operation(c, operation_id))

    async def operations(self, entity: str, *, limit: int = 50, after: str | None = None) -> Page:
        """OperationRows of an entity, newest first."""
        return await self._driver.read(lambda c: reads.operation_page(c, entity, limit=limit, after=after))

    async def events(self, wanted: EventFilter, *, limit: int = 100, after: str | None = None) -> Page:
        """Recorded events in commit order; `since` is included, `until` not."""
        settled = self._driver.settled
        return await self._driver.read(
            lambda c: audit.page(c, self._deciders, wanted, limit=limit, after=after, settled=settled)
        )

    async def history(
        self, kind: str, entity: str, *, until: datetime | None = None, until_seq: int | None = None
    ) -> Any:
        """The state as it was after the last event not later than a time or number."""
        decider = self._deciders[kind]
        return await self._driver.read(lambda c: audit.history(c, decider, entity, until=until, until_seq=until_seq))

    async def blocks(self, *, open_only: bool = True) -> tuple[StoredBlock, ...]:
        """Blocks with the twins they stop."""
        return await self._driver.read(lambda c: blocks.stored(c, open_only=open_only))

    async def token(self, hash: str) -> StoredToken | None:  # noqa: A002 - named so in the port
        """The token with that hash, unless expired."""
        return await self._driver.look(lambda c: access.token(c, hash, self._driver.now(c)))

    async def tokens(self) -> tuple[StoredToken, ...]:
        """All tokens by name, also those that have expired."""
        return await self._driver.read(access.all_tokens)

    async def sealed_otherwise(
        self, prefix: bytes, *, limit: int = 500, after: StoredSecret | None = None
    ) -> tuple[StoredSecret, ...]:
        """The ciphertexts that begin otherwise, in the order of their places."""
        return await self._driver.read(lambda c: ciphertexts.sealed_otherwise(c, prefix, limit, after))

    async def targets(self) -> tuple[Target, ...]:
        """All targets, by name."""
        return await self._driver.look(library.all_targets)

    async def target(self, name: str) -> tuple[Target | None, dict[str, tuple[int, bytes]]]:
        """A target as it is now, with the ciphertexts of its credentials."""
        return await self._driver.look(
            lambda c: (library.one_target(c, name), ciphertexts.of_component(c, PLATFORM_ID, name, None))
        )

    async def undone(self, target: str, *, limit: int, after: int = 0) -> tuple[StoredDelivery, ...]:
        """Deliveries that are not handled, in the order of their numbers."""
        return await self._driver.read(lambda c: deliveries.undone(c, target, limit, after))

    async def blueprints(self, name: str | None = None) -> tuple[StoredBlueprint, ...]:
        """Published versions, newest first."""
        return await self._driver.read(lambda c: library.published(c, name))

    async def verify(self, entity: str | None = None) -> Verification:
        """Recompute the hash chains of one entity or all."""
        return await self._driver.read(lambda c: audit.verify(c, entity))

    async def copy(self, to: Path) -> None:
        """A consistent copy in a file that is absent or empty."""
        await self._driver.copy(to)

    async def register(self, worker: str, host: str, pid: int) -> None:
        """Announce a worker; on SQLite, every other worker counts as proven dead."""
        alone = self._driver.single_process
        await self._driver.write(lambda tx: tasks.register(tx, worker, host, pid, alone=alone))

    def heartbeat(self, worker: str) -> None:
        """Extend the worker's lease; blocks its thread."""
        self._driver.write_from_thread(lambda tx: tasks.beat(tx, worker))

    async def claim(
        self,
        worker: str,
        free: dict[str, int],
        limit: int,
        *,
        ceilings: Mapping[str, int] | None = None,
        alone: bool = False,
    ) -> Sequence[Claimed]:
        """Lease due steps."""
        return await self._driver.write(lambda tx: tasks.claim(tx, worker, free, limit, ceilings or {}, alone=alone))

    async def loners_due(self) -> bool:
        """Whether a step is due that must run alone."""
        return await self._driver.look(lambda c: tasks.loners_due(c, self._driver.now(c)))

    async def put_off(self, task: Claimed, seconds: float) -> None:
        """End the task's lease and offer it again only after so many seconds."""
        await self._driver.write(lambda tx: tasks.put_off(tx, task, seconds))

    async def tell(self, task: Claimed, progress: str) -> bool:
        """Keep what a running step says of itself."""
        return await self._driver.write(lambda tx: tasks.tell(tx, task, progress))

    async def queues(self) -> Sequence[str]:
        """Queues that have a due step."""
        return await self._driver.look(lambda c: tasks.queues(c, self._driver.now(c)))

    async def next_due(self) -> datetime | None:
        """When the next unleased task is due."""
        return optional_moment(await self._driver.look(tasks.next_due))

    async def due_in(self) -> float | None:
        """Seconds until the next unleased task is due, by the database's clock."""

        def until(connection: Connection) -> float | None:
            due = tasks.next_due(connection)
            return None if due is None else (due - self._driver.now(connection)) / 1_000_000

        return await self._driver.look(until)

    async def due_timers(self, limit: int) -> Sequence[Claimed]:
        """Due timers and resolved blocks."""
        return await self._driver.look(lambda c: tasks.due_timers(c, self._driver.now(c), limit))

    async def dead(self, lease: float) -> Sequence[tuple[str, Sequence[Claimed]]]:
        """Workers silent for `lease` seconds, with what they hold."""
        return await self._driver.read(lambda c: tasks.dead(c, self._driver.now(c), lease))

    async def set_back(self, seen: datetime | None) -> tuple[datetime, Sequence[Claimed]]:
        """The time, and what waits as the clock was before it was set back."""
        before = optional_micros(seen)

        def look(connection: Connection) -> tuple[datetime, Sequence[Claimed]]:
            now = self._driver.now(connection)
            return from_micros(now), tasks.waiting_behind(connection, now, before)

        return await self._driver.read(look)

    async def held(self, worker: str) -> Sequence[Claimed]:
        """What a worker leases."""
        return await self._driver.read(lambda c: tasks.held(c, worker))

    async def bury(self, worker: str, *, silent: float | None = None) -> None:
        """Forget a worker that holds nothing any more; with `silent`, only one that is still silent for so long."""
        await self._driver.write(lambda tx: tasks.bury(tx, worker, silent))

    async def wait_for_work(self, timeout: float) -> None:
        """Return when something may have become due or after `timeout` seconds."""
        await self._driver.wait_for_work(timeout)


def open_store(
    url: str,
    *,
    deciders: Mapping[str, Decider[Any, Any, Any]],
    clock: Clock,
    inline: bool = False,
    upgrade: bool | None = None,
    connections: int = 8,
) -> SqlStore:
    """Open `sqlite:////absolute/path`, `sqlite://` (memory, only inline) or `postgresql://…`.

    `deciders` by kind. `clock` gives ids and jitter, and on SQLite the time. `inline` runs everything in the caller's
    thread (SQLite only). `upgrade` brings the schema to its newest version first; by default only on SQLite.
    `connections` bounds those to PostgreSQL. Raises `Unavailable` if the database cannot be reached, is in use by
    another process (SQLite), or has another schema; `Invalid` for a URL of another form.
    """
    parsed = make_url(url)
    driver: Driver
    match parsed.get_backend_name():
        case "sqlite":
            from twin.store.sqlite import InlineDriver, SqliteDriver

            path = Path(parsed.database).absolute() if parsed.database and parsed.database != ":memory:" else None
            upgrade = True if upgrade is None else upgrade
            if inline:
                driver = InlineDriver(path, clock, upgrade=upgrade)
            elif path is not None:
                driver = SqliteDriver(path, clock, upgrade=upgrade)
            else:
                raise Invalid("A database in memory works only inline.", field="url", mend="sqlite:////path/to/twin.db")
        case "postgresql" if not inline:
            from twin.store.postgres import PostgresDriver

            driver = PostgresDriver(parsed, clock, upgrade=bool(upgrade), connections=connections)
        case other:
            raise Invalid(f"No store for {other}{' inline' if inline else ''}.", field="url")
    return SqlStore(driver, deciders)

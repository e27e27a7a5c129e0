"""Copying a database: pg_dump into pg_restore from one exported snapshot, while the source serves on.

Of the source it takes ACCESS SHARE locks alone, and it gives up rather than queue for one. What it copies becomes the
clone's owner's: objects, rows, sequences, large objects, settings of the database. Roles, rights, publications,
subscriptions and tablespaces are the source's own and stay there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from msgspec import Struct
from psycopg import sql

from providers.postgres import masking, roles, staging
from providers.postgres.client import Server, Session
from providers.postgres.errors import failed_program, installing, working_on
from providers.postgres.programs import Login, Runner, find, runner
from providers.postgres.spec import DatabaseInputs
from providers.postgres.staging import Copy
from twin.domain.errors import StepFailure, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.ports.provider import Seeded, Source, StepContext

LOCK_WAIT = "20s"
"""How long pg_dump waits for ACCESS SHARE on the source's tables, and others wait behind it."""

_PLACES = ("public", "pg_catalog")
"""Schemas that stand in a new database, so that an extension can be put there before the restore."""


class Origin(Struct, frozen=True, kw_only=True):
    """The source at one moment. `extensions` are those that the twin installed, `settings` the database's own, as
    `name=value`."""

    version: int
    snapshot: str
    point: str
    extensions: tuple[str, ...]
    settings: tuple[str, ...]


async def seed(
    here: Server, there: Server, ref: ComponentRef, step: StepContext, source: Source, inputs: DatabaseInputs
) -> Seeded:
    """Make the component's database a copy of the source's, closed still; a finished one is not copied again."""
    if source.mode == "masked" and not source.masking:
        raise Terminal("a masked copy needs masking scripts, and the blueprint names none", field="masking")
    key = staging.key(step.idempotency_key)
    async with here.session() as pg:
        await pg.lock(ref.name)
        copy = await staging.finished(pg, ref, key)
        if copy is None:
            try:
                copy = await _copy(pg, here, there, ref, step, source, inputs)
            except Exception:
                with suppress(StepFailure):  # the next attempt does it, or the removal
                    await staging.clear(pg, ref)
                raise
    return Seeded(rows=copy.rows, bytes=copy.bytes, point=copy.point)


async def _copy(
    pg: Session,
    here: Server,
    there: Server,
    ref: ComponentRef,
    step: StepContext,
    source: Source,
    inputs: DatabaseInputs,
) -> Copy:
    await roles.ensure_owner(pg, ref, None)
    async with origin_of(there, source) as origin:
        programs = await find(pg.target, here.config, max(pg.version, origin.version) // 10000)
        name = await staging.create(pg, ref, encoding=inputs.encoding, locale=inputs.locale)
        user, password = await staging.create_copier(pg, ref)
        into = Login(config=here.config, database=name, user=user, password=password)
        async with here.session(name) as inside, runner(programs, ref, step.deadline) as run:
            await _ensure_extensions(inside, name, origin.extensions)
            await _transfer(run, there, into, inside, ref, step, source, origin)
            await roles.end_sessions(pg, user)  # its counts are in when it has ended
            rows, size = await _copied(inside, ref)
            if source.mode == "schema":
                rows, size = 0, 0
            await step.heartbeat(f"copied {_told(rows, size)}")
            await _ensure_settings(inside, name, origin.settings)
            await inside.do(working_on(name), sql.SQL("SET statement_timeout = 0").format())
            if source.mode == "masked":
                await masking.mask(run, into, source.masking, step.heartbeat)
                await roles.end_sessions(pg, user)
                await masking.sweep(inside, name, ref.name)
            elif source.mode == "full":
                await masking.vacuum(inside, name, ref.name, "ANALYZE")
    key = staging.key(step.idempotency_key)
    copy = Copy(key=key, mode=source.mode, rows=rows, bytes=size, point=origin.point)
    await staging.complete(pg, ref, name, copy)
    return copy


async def _transfer(
    run: Runner,
    there: Server,
    into: Login,
    inside: Session,
    ref: ComponentRef,
    step: StepContext,
    source: Source,
    origin: Origin,
) -> None:
    async def beat() -> None:
        with suppress(Transient):  # a look that fails is no reason to stop
            await step.heartbeat(f"copied {_told(*await _copied(inside, ref))}")

    failed = await run.pipe(
        [
            *("--format=custom", "--compress=none", "--no-sync", f"--snapshot={origin.snapshot}"),
            *(f"--lock-wait-timeout={LOCK_WAIT}", "--no-owner", "--no-privileges", "--no-tablespaces"),
            *("--no-publications", "--no-subscriptions", "--no-security-labels"),
            *(f'--exclude-extension="{name}"' for name in origin.extensions),
            *(("--schema-only",) if source.mode == "schema" else ()),
        ],
        there.login(source.ref.name),
        ["--format=custom", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={into.database}"],
        into,
        beat,
    )
    if failed is not None:
        program, output = failed
        target = there.name if program == "pg_dump" else inside.target
        raise failed_program(program, output.text, target=target, name=source.ref.name)


# --- the source ---


@asynccontextmanager
async def origin_of(there: Server, source: Source) -> AsyncIterator[Origin]:
    """The source, held at one moment until the end."""
    async with there.session() as pg, _enterable(pg, source), there.session(source.ref.name) as inside:
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            await inside.do(working_on(source.ref.name), sql.SQL("SET {} = 0").format(sql.Identifier(setting)))
        if inside.version >= 170000:
            await inside.do(working_on(source.ref.name), sql.SQL("SET transaction_timeout = 0").format())
        begin = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").format()
        await inside.do(working_on(source.ref.name), begin)
        ((snapshot, seen, at),) = await inside.read(
            """
            SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text,
                   (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                         ELSE pg_catalog.pg_current_wal_lsn() END)::text
            """
        )
        extensions = await inside.read(
            """
            SELECT e.extname::text FROM pg_catalog.pg_extension AS e
            JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
            WHERE e.extname <> 'plpgsql' AND pg_get_userbyid(e.extowner) <> %s AND n.nspname::text = ANY (%s)
            ORDER BY e.oid
            """,
            source.ref.name,
            list(_PLACES),
        )
        settings = await inside.read(
            """
            SELECT unnest(setconfig) FROM pg_catalog.pg_db_role_setting
            WHERE setrole = 0
              AND setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            """
        )
        yield Origin(
            version=inside.version,
            snapshot=snapshot,
            point=f"LSN {at}, snapshot {seen}",
            extensions=tuple(name for (name,) in extensions),
            settings=tuple(each for (each,) in settings),
        )


@asynccontextmanager
async def _enterable(pg: Session, source: Source) -> AsyncIterator[None]:
    """A suspended source is open while it is read. Its roles may not log in, so for the twin alone."""
    name = source.ref.name
    state = await pg.database(name)
    if state is None or state.invalid:
        raise Terminal(f'{pg.target}: database "{name}" is gone, so it cannot be copied any more')
    if state.open:
        yield
        return
    if not source.suspended:
        raise Transient(f'{pg.target}: database "{name}" accepts no connections')
    await pg.ensure_open(name)
    try:
        yield
    finally:
        if not await roles.any_login(pg, source.ref):  # resumed meanwhile, it stays open
            await pg.ensure_closed(name)


# --- the copy ---


async def _ensure_extensions(inside: Session, database: str, extensions: tuple[str, ...]) -> None:
    for name in extensions:
        statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name))
        await inside.do(installing(name, database), statement)


async def _ensure_settings(inside: Session, database: str, settings: tuple[str, ...]) -> None:
    """The values are those that the catalogue shows, which no SET would read back: a list is one string there."""
    for each in settings:
        name, _, value = each.partition("=")
        await inside.read("SELECT pg_catalog.set_config(%s, %s, false)", name, value)
        setting = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
        await inside.do(
            working_on(database),
            sql.SQL("ALTER DATABASE {} SET {} FROM CURRENT").format(sql.Identifier(database), setting),
        )


async def _copied(inside: Session, ref: ComponentRef) -> tuple[int, int]:
    """Rows and bytes so far: rows of ended statements, those of running ones, and what the tables take on disk."""
    ((rows, running, size),) = await inside.read(
        """
        SELECT (SELECT coalesce(sum(s.n_tup_ins), 0) FROM pg_catalog.pg_stat_user_tables AS s
                JOIN pg_catalog.pg_class AS c ON c.oid = s.relid
                WHERE c.relkind = 'r' AND pg_get_userbyid(c.relowner) = %(owner)s)::bigint,
               (SELECT coalesce(sum(tuples_processed), 0) FROM pg_catalog.pg_stat_progress_copy
                WHERE datname = current_database() AND command = 'COPY FROM')::bigint,
               (SELECT coalesce(sum(pg_catalog.pg_table_size(oid)), 0) FROM pg_catalog.pg_class
                WHERE relkind IN ('r', 'm') AND pg_get_userbyid(relowner) = %(owner)s)::bigint
        """,
        owner=ref.name,
    )
    return rows + running, size


def _told(rows: int, size: int) -> str:
    return f"{rows:,} rows, {size / 1e6:,.1f} MB"

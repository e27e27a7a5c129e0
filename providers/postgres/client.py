"""What can be done to a PostgreSQL server, each operation safe to repeat.

Every statement runs by itself (autocommit): CREATE and DROP DATABASE allow nothing else, so there is no rollback to
rely on and each `ensure_*` converges from whatever is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.errors import DuplicateDatabase, DuplicateObject, UniqueViolation

from providers.postgres.errors import (
    CONNECT,
    CREATE_DATABASE,
    Doing,
    answer_to_login,
    installing,
    translate,
    translated,
    working_on,
)
from providers.postgres.names import marked
from providers.postgres.programs import Login
from providers.postgres.spec import TargetConfig
from twin.domain.errors import Blocked, Terminal

CONNECT_TIMEOUT = 10
"""Seconds."""

LOCK_TIMEOUT = "20s"
"""How long a statement waits for a lock before the step is given back as Transient."""

FROZEN_AFTER = "10s"
"""How long the worker before us may still hold a name. One that runs learns sooner than that that it has been replaced;
one that stands still (stopped, swapped out, cut off) would hold it for ever."""

BUILTIN_LOCALES = frozenset({"C.UTF-8", "PG_UNICODE_FAST"})
"""Locales that PostgreSQL 17+ brings itself: the same sort order on every machine, never changed by the C library."""

CREATED_BY_ANOTHER = (DuplicateDatabase, DuplicateObject, UniqueViolation)
"""What CREATE says when the name is taken, the last one when it was taken in the same moment."""

INVALID = -2
"""`datconnlimit` of a database whose DROP was interrupted: it can only be dropped."""


_LOCK: LiteralString = "SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(%s, 0))"

# A role may end its own sessions without further rights. A key of 64 bits stands in pg_locks in two halves.
_END_HOLDER: LiteralString = """
    SELECT pg_catalog.pg_terminate_backend(held.pid)
    FROM pg_catalog.pg_locks AS held JOIN pg_catalog.pg_stat_activity AS session USING (pid)
    WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1 AND held.pid <> pg_backend_pid()
      AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND session.usename = current_user
      AND held.classid::bigint << 32 | held.objid::bigint = pg_catalog.hashtextextended(%s, 0)
"""


class DatabaseState(Struct, frozen=True, kw_only=True):
    """A database as pg_database shows it."""

    owner: str
    encoding: str
    locale: str
    connections: int
    open: bool
    public: bool
    mark: str | None

    @property
    def invalid(self) -> bool:
        """Whether a DROP DATABASE was interrupted in the middle."""
        return self.connections == INVALID


class Server:
    """A server that the twin works on. It holds no connection: a sleeping twin costs the server nothing."""

    def __init__(self, target: str, config: TargetConfig, password: str) -> None:
        self.name = target
        self.config = config
        self._password = password

    def login(self, database: str) -> Login:
        """Our own way into a database, for PostgreSQL's programs."""
        return Login(config=self.config, database=database, user=self.config.user, password=self._password)

    @asynccontextmanager
    async def session(self, database: str | None = None) -> AsyncIterator[Session]:
        """A connection to `database` (default: the maintenance database), closed at the end."""
        config = self.config
        with translated(target=self.name, user=config.user, doing=CONNECT):
            connection = await self._connect(database or config.database)
        try:
            yield Session(connection, target=self.name, user=config.user)
        finally:
            await connection.close()

    async def refuses(self, database: str, user: str, password: str) -> bool:
        """Whether the server itself turns that login away. Raises Transient if it gives no answer."""
        config = self.config
        try:
            connection = await psycopg.AsyncConnection.connect(
                host=config.host,
                port=config.port,
                dbname=database,
                user=user,
                password=password,
                sslmode=config.sslmode,
                gssencmode="disable",
                connect_timeout=CONNECT_TIMEOUT,
                application_name="twin",
            )
        except psycopg.OperationalError as error:
            answer = answer_to_login(error)
            if answer is None:
                raise translate(error, target=self.name, user=config.user, doing=CONNECT) from None
            return answer == "refused"
        await connection.close()
        return False

    async def _connect(self, database: str) -> psycopg.AsyncConnection[Any]:
        config = self.config
        connecting = asyncio.ensure_future(
            psycopg.AsyncConnection.connect(
                host=config.host,
                port=config.port,
                dbname=database,
                user=config.user,
                password=self._password,
                sslmode=config.sslmode,
                gssencmode="disable",
                connect_timeout=CONNECT_TIMEOUT,
                application_name="twin",
                # A tenant owns its database and could put functions into our search path: only pg_catalog, which
                # always comes first, and the schema that extensions go to.
                options=f"-c search_path=public -c lock_timeout={LOCK_TIMEOUT} -c client_min_messages=warning",
                autocommit=True,
                prepare_threshold=None,
            )
        )
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # psycopg leaves a connection that is cancelled half-way open, and while the server waits for the rest of
            # the login (a minute), every DROP DATABASE waits with it. So it is completed, then closed.
            connecting.add_done_callback(_close)
            raise


def _close(connecting: asyncio.Future[psycopg.AsyncConnection[Any]]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().pgconn.finish()


class Session:
    """One connection to one database of the server."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], *, target: str, user: str) -> None:
        self._connection = connection
        self._target = target
        self._user = user

    @property
    def target(self) -> str:
        """The target's name, with which the keys of Blocks begin."""
        return self._target

    # --- reading ---

    async def identity(self) -> str | None:
        """The cluster's system identifier, which survives restarts and failovers; None if we may not read it."""
        try:
            rows = await self.read("SELECT system_identifier FROM pg_catalog.pg_control_system()")
        except Blocked:
            return None
        return str(rows[0][0])

    async def lock(self, name: str) -> None:
        """Until this session ends, no other worker works on `name`: two at once would fail in each other's way.

        The engine runs no two steps on one component, so whoever still holds it has lost its lease: its session is
        ended, and what it does after that is refused here as its result is there.
        """
        await self.read("SELECT pg_catalog.set_config('lock_timeout', %s, false)", FROZEN_AFTER)
        try:
            await self._connection.execute(_LOCK, [name])
        except psycopg.errors.LockNotAvailable:
            await self.read(_END_HOLDER, name)
            await self.read(_LOCK, name)
        except psycopg.Error as error:
            raise translate(error, target=self._target, user=self._user, doing=CONNECT) from None
        await self.read("SELECT pg_catalog.set_config('lock_timeout', %s, false)", LOCK_TIMEOUT)

    async def database(self, name: str) -> DatabaseState | None:
        """The database of that name, or None."""
        rows = await self.read(
            # datlocale is new in PostgreSQL 17; through jsonb one statement reads every version.
            """
            SELECT pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding),
                   coalesce(to_jsonb(d) ->> 'datlocale', d.datcollate), d.datconnlimit, d.datallowconn,
                   has_database_privilege('public', d.oid, 'CONNECT'), shobj_description(d.oid, 'pg_database')
            FROM pg_catalog.pg_database AS d WHERE d.datname = %s
            """,
            name,
        )
        if not rows:
            return None
        owner, encoding, locale, connections, is_open, public, mark = rows[0]
        return DatabaseState(
            owner=owner,
            encoding=encoding,
            locale=locale,
            connections=connections,
            open=is_open,
            public=public,
            mark=mark,
        )

    async def extensions(self, owner: str) -> list[str]:
        """The extensions of this session's database, oldest first, without plpgsql and what `owner` installed itself:
        an app's own migrations may install trusted extensions, which are not ours to drop."""
        rows = await self.read(
            "SELECT extname, pg_catalog.pg_get_userbyid(extowner) FROM pg_catalog.pg_extension ORDER BY oid"
        )
        return [name for name, by in rows if name != "plpgsql" and by != owner]

    async def extension_names(self) -> set[str]:
        """Every extension of this session's database, whoever installed it."""
        return {name for (name,) in await self.read("SELECT extname FROM pg_catalog.pg_extension")}

    # --- making ---

    async def ensure_database(self, name: str, *, encoding: str, locale: str, mark: str) -> None:
        """A database owned by the role of the same name, closed to every other role. A new one accepts no connections
        until `ensure_open`, so that nobody enters before PUBLIC is kept out.

        Raises Terminal if it stands with another encoding or locale, Blocked if a DROP of it was interrupted.
        """
        state = await self.database(name)
        if state is None:
            await self.create_database(name, owner=name, encoding=encoding, locale=locale)
        else:
            self._refuse_other(name, state, encoding=encoding, locale=locale)
        database, role = sql.Identifier(name), sql.Identifier(name)
        if state is not None and state.owner != name:
            await self.do(working_on(name), sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
        if state is None or not marked(state.mark, mark):
            await self.do(working_on(name), sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(mark)))
        await self.do(working_on(name), sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))

    async def create_database(self, name: str, *, owner: str, encoding: str, locale: str) -> None:
        """A database that accepts no connections yet."""
        if locale in BUILTIN_LOCALES and encoding == "UTF8" and self.version >= 170000:
            place = sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {} LC_COLLATE 'C' LC_CTYPE 'C'")
        else:
            place = sql.SQL("LOCALE {}")
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} {} ALLOW_CONNECTIONS false")
        await self.create(
            CREATE_DATABASE,
            statement.format(
                sql.Identifier(name), sql.Identifier(owner), sql.Literal(encoding), place.format(sql.Literal(locale))
            ),
        )

    async def ensure_connection_limit(self, name: str, connections: int) -> None:
        """At most that many connections at once, superusers not counted."""
        await self.do(
            working_on(name),
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(name), sql.Literal(connections)),
        )

    async def ensure_open(self, name: str) -> None:
        """The database accepts connections."""
        await self.do(
            working_on(name), sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
        )

    async def ensure_closed(self, name: str) -> None:
        """The database accepts no connections and has none. Its owner could reopen it: end the logins first."""
        state = await self.database(name)
        if state is None or state.invalid:
            return
        await self.do(
            working_on(name), sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name))
        )
        await self.do(
            working_on(name),
            sql.SQL(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE datname = {} AND backend_type = 'client backend'"
            ).format(sql.Literal(name)),
        )

    async def ensure_extensions(self, database: str, names: Sequence[str]) -> None:
        """In this session's database: those extensions, and no other that the twin installed. Nothing that depends on
        an extension is ever dropped with it (Terminal instead)."""
        there = await self.extension_names()
        for name in names:
            if name not in there:
                await self.do(
                    installing(name, database),
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)),
                )
        for name in reversed(await self.extensions(owner=database)):
            if name not in names:
                await self.do(
                    installing(name, database), sql.SQL("DROP EXTENSION IF EXISTS {}").format(sql.Identifier(name))
                )

    # --- unmaking ---

    async def drop_database(self, name: str) -> None:
        """The database is gone with all that it held, whoever is connected."""
        await self.ensure_closed(name)
        await self.do(working_on(name), sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    # --- how ---

    async def may_all(self) -> bool:
        """Whether we are a superuser."""
        rows = await self.read("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
        return bool(rows[0][0])

    def verifier(self, role: str, password: str) -> str:
        """What the server stores in place of the password (SCRAM), made here so that it never sees the clear text."""
        made = self._connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        return made.decode()

    @property
    def version(self) -> int:
        """The server's, as 180001."""
        return self._connection.info.server_version

    async def read(self, statement: LiteralString, *args: object, **named: object) -> list[tuple[Any, ...]]:
        """Rows of the catalogues."""
        with translated(target=self._target, user=self._user, doing=CONNECT):
            cursor = await self._connection.execute(statement, named or args)
            return await cursor.fetchall()

    async def do(self, doing: Doing, statement: sql.Composed, *, unless: tuple[type[psycopg.Error], ...] = ()) -> None:
        """One statement; its refusal is named by `doing`. What `unless` names is success."""
        with translated(target=self._target, user=self._user, doing=doing), suppress(*unless):
            await self._connection.execute(statement)

    async def create(self, doing: Doing, statement: sql.Composed) -> None:
        """As `do`; that another worker was faster, from the same inputs, is success."""
        await self.do(doing, statement, unless=CREATED_BY_ANOTHER)

    def _refuse_other(self, name: str, state: DatabaseState, *, encoding: str, locale: str) -> None:
        if state.invalid:
            raise Blocked(
                f'{self._target}: a DROP of database "{name}" was interrupted; what it held is lost',
                key=f"{self._target}/invalid-{name}",
                mend=f'DROP DATABASE "{name}"',
            )
        for field, has, wanted in (("encoding", state.encoding, encoding), ("locale", state.locale, locale)):
            if has != wanted:
                raise Terminal(
                    f'{self._target}: database "{name}" stands with {field} {has}, which cannot become {wanted}',
                    field=field,
                )

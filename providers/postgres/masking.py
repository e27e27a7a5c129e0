"""Masking: the bundle's SQL, run on a copy that nobody has seen, and what it leaves behind swept.

The scripts are others' code. They run in psql, a child process, as a role that has the clone's owner's rights and no
more, and in psql's restricted mode: nothing in them can start a program or reach another file or server.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import LiteralString

from psycopg import sql

from providers.postgres.client import Session
from providers.postgres.errors import working_on
from providers.postgres.programs import Login, Runner
from twin.domain.errors import Terminal, Transient

_NOT_OURS = "TW001"

# An unfinished transaction would be rolled back with the session, and the rows published as they were.
_FINISHED = f"""
;DO $twin$ BEGIN
  IF pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '{_NOT_OURS}', MESSAGE = 'open transaction';
  END IF;
END $twin$;
"""

_FAILED = re.compile(r"^psql:<stdin>:(\d+): \S+:\s+([0-9A-Z]{5}): (.*)$", re.MULTILINE)
_RESTRICTED = re.compile(r"^psql:<stdin>:(\d+): error: backslash commands are restricted", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]*)"')
_CONNECTION_LOST = 2


async def mask(
    runner: Runner, login: Login, masking: Mapping[str, bytes], heartbeat: Callable[[str], Awaitable[None]]
) -> None:
    """Run the scripts in order. Raises Terminal, with psql's words but no row, at the first statement that fails."""

    async def beat() -> None:
        await heartbeat(f"masking by {name}")

    for name, script in masking.items():
        await beat()
        text = _text(name, script)
        restricted = f"\\restrict {secrets.token_hex(16)}\n"
        arguments = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose", "--file=-"]
        output = await runner.run("psql", arguments, login, beat, text=restricted + text + _FINISHED)
        if output.code == _CONNECTION_LOST:
            raise Transient(f"psql lost its connection while masking by {name}")
        if output.code != 0:
            raise Terminal(
                _said(name, text, output.text),
                field="masking",
                mend="Correct the script, publish the blueprint, and clone anew; nothing of this copy is left.",
            )


async def sweep(inside: Session, database: str, owner: str) -> None:
    """In the masked database: neither files nor the planner's statistics hold what stood there before.

    Raises Terminal if the statistics of an emptied table cannot be cleared, as before PostgreSQL 18.
    """
    if inside.version >= 180000:
        await inside.read(
            """
            SELECT pg_catalog.pg_clear_attribute_stats(schemaname, tablename, attname, inherited)
            FROM pg_catalog.pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
            """
        )
    await vacuum(inside, database, owner, "FULL, ANALYZE")
    for catalogue in ("pg_statistic", "pg_statistic_ext_data"):  # overwritten, and on disk still
        statement = sql.SQL("VACUUM (FULL) {}").format(sql.Identifier("pg_catalog", catalogue))
        await inside.do(working_on(database), statement)
    left = await inside.read(
        """
        SELECT DISTINCT format('%%I.%%I', s.schemaname, s.tablename) FROM (
            SELECT schemaname, tablename FROM pg_catalog.pg_stats
            UNION ALL SELECT schemaname, tablename FROM pg_catalog.pg_stats_ext WHERE most_common_vals IS NOT NULL
        ) AS s
        WHERE s.schemaname NOT IN ('pg_catalog', 'information_schema')
          AND pg_relation_size(format('%%I.%%I', s.schemaname, s.tablename)::regclass) = 0
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits
                          WHERE inhparent = format('%%I.%%I', s.schemaname, s.tablename)::regclass)
        """
    )
    if left:
        tables = ", ".join(sorted(name for (name,) in left))
        raise Terminal(
            f"the masking emptied {tables}, and the server's statistics still show values that stood there",
            field="masking",
            mend="Let the script keep a masked row, or drop the extended statistics, or use PostgreSQL 18 or later.",
        )


async def vacuum(inside: Session, database: str, owner: str, options: LiteralString) -> None:
    """VACUUM of the owner's tables. Of those alone: a superuser's would lock the whole server's catalogues too."""
    tables = await inside.read(
        """
        SELECT n.nspname::text, c.relname::text
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND pg_get_userbyid(c.relowner) = %s ORDER BY 1, 2
        """,
        owner,
    )
    for table in tables:
        statement = sql.SQL("VACUUM ({}) {}").format(sql.SQL(options), sql.Identifier(*table))
        await inside.do(working_on(database), statement)


def _text(name: str, script: bytes) -> str:
    try:
        return script.decode()
    except UnicodeDecodeError:
        raise Terminal(f"the masking script {name} is not in UTF-8", field="masking") from None


def _said(name: str, script: str, output: str) -> str:
    """What psql said of the statement that failed, without anything that may come from a row."""
    if found := _RESTRICTED.search(output):
        return (
            f"masking by {name}, line {_line(found, script)}: psql's backslash commands are not allowed, SQL alone is"
        )
    found = _FAILED.search(output)
    if found is None:
        return f"masking by {name} failed before or between its statements"
    code, words = found[2], found[3].strip()
    place = f"masking by {name}, line {_line(found, script)}"
    if code == _NOT_OURS:
        return f"masking by {name} leaves a transaction open, which would undo it: end it with COMMIT"
    if code[:2] not in ("42", "23", "25", "0A", "3F", "2B"):
        # Their words may be made of values: of a division, a cast, a RAISE.
        words = f"{_NAMES.get(code[:2], 'an error')}, whose words may hold rows and are not shown"
    else:
        words = _QUOTED.sub(lambda each: each[0] if each[1] in script or code[:2] == "23" else '"…"', words)
    return f"{place}: {words} ({code})"


def _line(found: re.Match[str], script: str) -> int:
    """The line in the script: psql has read one of ours before it, and some after."""
    return min(int(found[1]) - 1, len(script.splitlines()))


_NAMES = {
    "22": "a value does not fit",
    "53": "the server lacks resources",
    "54": "a limit of the server is exceeded",
    "57": "the statement was cancelled",
    "P0": "an exception was raised",
}

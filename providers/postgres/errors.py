"""One table from SQLSTATE to what happens next, and the only place where psycopg's errors become ours.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html. A failed *connection* carries no SQLSTATE (libpq
keeps it to itself), so there the server's English text stands in for it; what is not recognised counts as the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg
from msgspec import Struct

from twin.domain.errors import Blocked, StepFailure, Terminal, Transient


class Doing(Struct, frozen=True, kw_only=True):
    """What the server is being asked for, so that a refusal is named by it.

    `action` completes "role x may not …"; `reason` ends the Block's key; `mend` is the command that grants the right
    ({user} is the twin's role); `field` is the input to blame if the value itself is refused.
    """

    action: str
    reason: str
    mend: str
    field: str | None = None


CONNECT = Doing(action="connect", reason="connect", mend='GRANT CONNECT ON DATABASE postgres TO "{user}"')
CREATE_DATABASE = Doing(
    action="create databases", reason="createdb", mend='ALTER ROLE "{user}" CREATEDB', field="locale"
)
CREATE_ROLE = Doing(action="create roles", reason="createrole", mend='ALTER ROLE "{user}" CREATEROLE')


def working_on(name: str) -> Doing:
    """Altering, reading or dropping the database and role `name`, which belong to whoever made them."""
    return Doing(
        action=f'alter or drop database and role "{name}"',
        reason=f"privilege-{name}",
        mend=f'GRANT "{name}" TO "{{user}}" WITH ADMIN TRUE, INHERIT TRUE, SET TRUE',
    )


def dropping_role(name: str) -> Doing:
    """Dropping a role, which other databases may still refer to."""
    return Doing(
        action=f'drop role "{name}"',
        reason=f"role-{name}",
        mend=f'in each database named in the message: REASSIGN OWNED BY "{name}" TO "{{user}}"; DROP OWNED BY "{name}"',
    )


def installing(extension: str, database: str) -> Doing:
    """CREATE EXTENSION or DROP EXTENSION."""
    return Doing(
        action=f'install or drop extension "{extension}"',
        reason=f"extension-{extension}",
        mend=f'as a superuser, in database "{database}": CREATE EXTENSION IF NOT EXISTS "{extension}"',
        field="extensions",
    )


TRANSIENT = {
    "08": "the connection was lost",
    "40": "the transaction was rolled back",
    "53300": "the server has no free connection",
    "55006": "the object is in use",
    "55P03": "a lock is held",
    "57014": "the statement was cancelled",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed",
    "57P03": "the server is starting up or shutting down",
    "57P05": "the session was idle for too long",
    "42P04": "the database was created at the same moment",
    "42710": "the object was created at the same moment",
    "23505": "the object was created at the same moment",
    "25006": "the server is read-only (a standby, or in the middle of a failover)",
}
"""Passes by itself. A key of two characters stands for its whole class."""

CAPACITY = {
    "53100": "the disk is full",
    "53200": "the server is out of memory",
    "53400": "a configured limit of the server is reached",
    "58030": "the server cannot read or write its files",
}
"""Needs whoever runs the server."""

SETTINGS = {
    "3D000": ("database", "the maintenance database does not exist", "database=postgres"),
    "TLS": (
        "tls",
        "TLS could not be agreed on",
        "sslmode=prefer, or give the server a certificate that can be verified",
    ),
}
"""Needs the target's own configuration mended: reason, what is wrong, what to set. TLS is ours, libpq has no code."""

CREDENTIALS = frozenset({"28P01", "28000"})
PRIVILEGE = "42501"
DEPENDENTS = "2BP01"
CONCURRENT_UPDATE = "tuple concurrently"
"""XX000 is the class of internal errors; this text is the one of two sessions altering the same role or database."""

CONNECTION_TEXTS = (
    ("password authentication failed", "28P01"),
    ("authentication failed", "28000"),
    ("no pg_hba.conf entry", "28000"),
    ("is not permitted to log in", "28000"),
    ("no password supplied", "28P01"),
    ("permission denied for database", "42501"),
    ("is not currently accepting connections", "57P03"),
    ("certificate verify failed", "TLS"),
    ("server does not support SSL", "TLS"),
    ("does not exist", "3D000"),
    ("too many connections", "53300"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("the database system is", "57P03"),
)


def translate(error: psycopg.Error, *, target: str, user: str, doing: Doing) -> StepFailure:
    """The failure that `error` stands for. Its text never holds the statement, which is where secrets would be."""
    code = error.sqlstate or _code_of_connection(error)
    said = error.diag.message_primary or _first_line(error)
    place = f"{target} ({code})" if code else target

    if code in CREDENTIALS:
        return Blocked(
            f'{place} does not accept the credentials of role "{user}": {said}',
            key=f"{target}/credentials",
            mend=f'give {target} the password of role "{user}", which must have LOGIN and a line in pg_hba.conf',
        )
    if code == PRIVILEGE:
        return Blocked(
            f'role "{user}" may not {doing.action} ({place}: {said})',
            key=f"{target}/{doing.reason}",
            mend=doing.mend.format(user=user),
        )
    if code == DEPENDENTS and doing.field is None:
        return Blocked(
            f"{place}: {said} ({error.diag.message_detail or 'no detail'})",
            key=f"{target}/{doing.reason}",
            mend=doing.mend.format(user=user),
        )
    if code in CAPACITY:
        return Blocked(
            f"{place}: {CAPACITY[code]}: {said}",
            key=f"{target}/capacity",
            mend=f"free or add disk, memory or limits on the server of {target}; its log names the file",
        )
    if code in SETTINGS and doing is CONNECT:
        reason, wrong, mend = SETTINGS[code]
        return Blocked(
            f"{place}: {wrong}: {said}", key=f"{target}/{reason}", mend=f"in the configuration of {target}, set {mend}"
        )
    if code is None and not isinstance(error, psycopg.OperationalError):
        return Terminal(f"{place}: {said}")
    if code is None or (code == "XX000" and CONCURRENT_UPDATE in said):
        return Transient(f"{place} cannot be reached or is busy: {said}")
    if passing := TRANSIENT.get(code) or TRANSIENT.get(code[:2]):
        return Transient(f"{place}: {passing}: {said}")
    return Terminal(f"{place} refused to {doing.action}: {said}", field=doing.field)


def answer_to_login(error: psycopg.OperationalError) -> Literal["refused", "known"] | None:
    """Whether a failed login was turned away for its role or password, or failed after those were found right (the
    database is closed, the role may not connect to it). None: neither is proven."""
    code = error.sqlstate or _code_of_connection(error)
    if code in CREDENTIALS or ('role "' in str(error) and "does not exist" in str(error)):
        return "refused"
    after = code == PRIVILEGE or "is not currently accepting connections" in str(error)
    return "known" if after else None


PROGRAM_TEXTS = (
    ("permission denied", "privilege"),
    ("must be owner", "privilege"),
    ("must be superuser", "privilege"),
    ("row-level security", "privilege"),
    ("No space left", "capacity"),
    ("out of memory", "capacity"),
    ("connection to server", "passing"),
    ("server closed the connection", "passing"),
    ("terminating connection", "passing"),
    ("lock timeout", "passing"),
    ("could not obtain lock", "passing"),
    ("canceling statement", "passing"),
    ("deadlock detected", "passing"),
    ("no connection to the server", "passing"),
    ("the database system is", "passing"),
)
"""What pg_dump and pg_restore say, which have no codes: the first that fits."""

_VALUE = re.compile(r': ".*', re.DOTALL)


def failed_program(program: str, said: str, *, target: str, name: str) -> StepFailure:
    """The failure that one of PostgreSQL's programs stands for, with its first error and no row."""
    lines = [line for line in said.splitlines() if "error:" in line] or said.strip().splitlines()[:1] or ["no words"]
    told = (
        f'{target}: {program} of database "{name}": {_VALUE.sub(": …", lines[0].partition("error: ")[2] or lines[0])}'
    )
    match next((what for text, what in PROGRAM_TEXTS if text in said), None):
        case "privilege":
            return Blocked(
                told,
                key=f"{target}/copy-{name}",
                mend=f'give the role of {target} what the message names (in the source, all should belong to "{name}"),'
                " or make it a superuser",
            )
        case "capacity":
            return Blocked(told, key=f"{target}/capacity", mend=f"free or add disk or memory on the server of {target}")
        case "passing":
            return Transient(told)
    return Terminal(told)


@contextmanager
def translated(*, target: str, user: str, doing: Doing) -> Iterator[None]:
    """Everything psycopg raises inside comes out as a StepFailure."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, target=target, user=user, doing=doing) from None


def _code_of_connection(error: psycopg.Error) -> str | None:
    text = str(error)
    return next((code for fragment, code in CONNECTION_TEXTS if fragment in text), None)


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

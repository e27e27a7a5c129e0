"""The table from SQLSTATE to what happens next."""

from __future__ import annotations

import psycopg
import pytest

from providers.postgres.errors import (
    CONNECT,
    CREATE_DATABASE,
    CREATE_ROLE,
    Doing,
    dropping_role,
    installing,
    translate,
    working_on,
)
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

VECTOR = installing("vector", "shop")
SHOP = working_on("shop")


def said(code: str, text: str = "as the server says") -> psycopg.Error:
    """The error that psycopg raises for a statement refused with that SQLSTATE."""
    kind = type("Refused", (psycopg.errors.lookup(code),), {"sqlstate": code})
    error: psycopg.Error = kind(text)
    return error


def judged(error: psycopg.Error, doing: Doing = SHOP) -> StepFailure:
    return translate(error, target="postgres/local", user="twin", doing=doing)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("53300", "connections come free again"),
        ("57P03", "a server that starts will have started"),
        ("57P01", "a server that is restarted comes back"),
        ("08006", "a lost connection can be made again"),
        ("40P01", "the other one of a deadlock has won, the next attempt will not meet it"),
        ("55006", "whoever uses the database leaves"),
        ("55P03", "the lock is given back"),
        ("42P04", "another worker made it, the next attempt adopts it"),
        ("23505", "another worker made it, the next attempt adopts it"),
        ("25006", "a failover ends"),
    ],
)
def test_what_passes_by_itself_is_transient(code: str, reason: str) -> None:
    assert isinstance(judged(said(code)), Transient), reason


@pytest.mark.parametrize(
    ("code", "doing", "key", "mend"),
    [
        ("42501", CREATE_DATABASE, "createdb", 'ALTER ROLE "twin" CREATEDB'),
        ("42501", CREATE_ROLE, "createrole", 'ALTER ROLE "twin" CREATEROLE'),
        ("42501", VECTOR, "extension-vector", 'CREATE EXTENSION IF NOT EXISTS "vector"'),
        ("42501", SHOP, "privilege-shop", 'GRANT "shop" TO "twin" WITH ADMIN TRUE, INHERIT TRUE, SET TRUE'),
        ("42501", CONNECT, "connect", "GRANT CONNECT"),
        ("2BP01", dropping_role("shop"), "role-shop", 'REASSIGN OWNED BY "shop" TO "twin"'),
        ("28P01", CONNECT, "credentials", "password"),
        ("28000", CONNECT, "credentials", "password"),
        ("53100", SHOP, "capacity", "disk"),
        ("3D000", CONNECT, "database", "database=postgres"),
    ],
)
def test_what_needs_a_human_is_blocked_with_key_and_mend(code: str, doing: Doing, key: str, mend: str) -> None:
    failure = judged(said(code), doing)
    assert isinstance(failure, Blocked)
    assert failure.key == f"postgres/local/{key}"
    assert mend in failure.mend
    assert failure.owner == "platform"


@pytest.mark.parametrize(
    ("code", "doing", "field", "reason"),
    [
        ("0A000", VECTOR, "extensions", "the server does not have the extension"),
        ("42704", VECTOR, "extensions", "the extension needs another one, which was not asked for"),
        ("2BP01", VECTOR, "extensions", "something depends on the extension, and data are not dropped with it"),
        ("42809", CREATE_DATABASE, "locale", "the server does not know the locale"),
        ("22023", CREATE_DATABASE, "locale", "encoding and locale do not fit"),
        ("42601", SHOP, None, "a program error is not retried"),
        ("XX000", SHOP, None, "an internal error of an unknown kind is not retried"),
    ],
)
def test_what_cannot_succeed_is_terminal_and_names_the_input(
    code: str, doing: Doing, field: str | None, reason: str
) -> None:
    failure = judged(said(code), doing)
    assert isinstance(failure, Terminal), reason
    assert failure.field == field


def test_two_sessions_altering_the_same_role_is_transient_though_called_internal() -> None:
    assert isinstance(judged(said("XX000", "tuple concurrently updated")), Transient)
    assert isinstance(judged(said("XX000", "tuple concurrently deleted")), Transient)


CONNECTION = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Connection refused\n\tIs the server running on that host?", Transient),
        ('FATAL:  password authentication failed for user "twin"', Blocked),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.2"', Blocked),
        ("fe_sendauth: no password supplied", Blocked),
        ('FATAL:  database "nowhere" does not exist', Blocked),
        ("server does not support SSL, but SSL was required", Blocked),
        ("FATAL:  sorry, too many clients already", Transient),
        ('FATAL:  too many connections for database "shop"', Transient),
        ("FATAL:  the database system is starting up", Transient),
        ('FATAL:  database "shop" is not currently accepting connections', Transient),
        ("something that nobody has seen before", Transient),
    ],
)
def test_a_failed_connection_is_told_by_its_text(text: str, expected: type[StepFailure]) -> None:
    assert isinstance(judged(psycopg.OperationalError(CONNECTION + text), CONNECT), expected), text


def test_a_misuse_of_the_driver_is_no_reason_to_wait() -> None:
    assert isinstance(judged(psycopg.ProgrammingError('invalid sslmode value: "often"')), Terminal)


def test_only_the_first_line_is_told_since_the_next_may_quote_the_statement() -> None:
    error = psycopg.OperationalError("server closed the connection\nLINE 1: ALTER ROLE x PASSWORD 'secret'")
    assert "secret" not in judged(error).message

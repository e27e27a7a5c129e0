"""The table from Redis's error codes to what happens next."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from providers.redis.errors import translate
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient


def judged(reply: str | Exception) -> StepFailure:
    """What becomes of a server's reply, read as redis-py reads it."""
    error = reply if isinstance(reply, Exception) else BaseParser.parse_error(reply)
    return translate(error, target="redis/local", user="twin")


@pytest.mark.parametrize(
    "reply",
    [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN Hash slot not served",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR max number of clients reached",
        RedisConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."),
        RedisTimeoutError("Timeout connecting to server"),
        OSError("Network is unreachable"),
    ],
)
def test_what_passes_by_itself_is_transient(reply: str | Exception) -> None:
    assert isinstance(judged(reply), Transient)


@pytest.mark.parametrize(
    ("reply", "key", "mend"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", "credentials", "password"),
        ("NOAUTH Authentication required.", "credentials", "password"),
        ("ERR invalid password", "credentials", "password"),
        ("NOPERM this user has no permissions to run the 'acl|setuser' command", "permission", "ACL SETUSER twin"),
        ("ERR DUMP payload version or checksum are wrong", "version", "bring the server"),
        ("ERR Bad data format", "version", "bring the server"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "capacity", "maxmemory"),
        ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", "capacity", "disk"),
        (
            RedisConnectionError("Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] self-signed."),
            "tls",
            "tls",
        ),
    ],
)
def test_what_needs_a_human_is_blocked_with_key_and_mend(reply: str | Exception, key: str, mend: str) -> None:
    failure = judged(reply)
    assert isinstance(failure, Blocked)
    assert failure.key == f"redis/local/{key}"
    assert mend in failure.mend
    assert failure.owner == "platform"


@pytest.mark.parametrize(
    "reply",
    [
        "ERR Error in ACL SETUSER modifier '+nonsense': Unknown command or category name in ACL",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "CROSSSLOT Keys in request don't hash to the same slot",
        ResponseError("something else"),
    ],
)
def test_what_cannot_succeed_is_terminal(reply: str | Exception) -> None:
    assert isinstance(judged(reply), Terminal)

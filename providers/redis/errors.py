"""One table from Redis's error codes to what happens next, and the only place where redis-py's errors become ours.

A code is the first word of the server's error reply; redis-py takes it off for the errors that it knows and keeps it as
`status_code`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

TRANSIENT = {
    "LOADING": "the server is loading its data",
    "BUSY": "a script keeps the server busy",
    "TRYAGAIN": "the cluster is moving slots",
    "CLUSTERDOWN": "the cluster is down",
    "MASTERDOWN": "the replica has lost its master",
    "READONLY": "the server is a replica, or in the middle of a failover",
    "NOREPLICAS": "too few replicas are in reach",
    "UNBLOCKED": "the server changed its role",
}
"""Passes by itself."""

CREDENTIALS = frozenset({"WRONGPASS", "NOAUTH"})

CAPACITY = {
    "OOM": ("its memory is full", "raise maxmemory, or delete what is not needed"),
    "MISCONF": ("it cannot write its data to disk", "free its disk; its log names the cause"),
}
"""Needs whoever runs the server: what is wrong, and what to do."""


def translate(error: Exception, *, target: str, user: str) -> StepFailure:
    """The failure that `error` stands for. No command's arguments are in its text."""
    code = code_of(error)
    said = str(error).removeprefix(f"{code} ") if code else str(error)
    place = f"{target} ({code})" if code else target

    if code in CREDENTIALS or isinstance(error, (AuthenticationError, AuthorizationError)):
        return Blocked(
            f'{place} does not accept the credentials of user "{user}": {_told_safely(said)}',
            key=f"{target}/credentials",
            mend=f'give {target} the password of user "{user}", which must be on: ACL SETUSER {user} on',
        )
    if code == "NOPERM":
        return Blocked(
            f'{place}: user "{user}" may not do this: {said}',
            key=f"{target}/permission",
            mend=f"ACL SETUSER {user} ~* &* +@all",
        )
    if code in CAPACITY:
        wrong, mend = CAPACITY[code]
        return Blocked(f"{place}: {wrong}: {said}", key=f"{target}/capacity", mend=f"on the server of {target}: {mend}")
    if code in TRANSIENT:
        return Transient(f"{place}: {TRANSIENT[code]}: {said}")
    if "DUMP payload version" in said or "Bad data format" in said:
        return Blocked(
            f"{place} cannot read the source's values, which a newer server wrote: {said}",
            key=f"{target}/version",
            mend=f"bring the server of {target} to the version of the source's server",
        )
    if "CERTIFICATE_VERIFY_FAILED" in said or "WRONG_VERSION_NUMBER" in said:
        return Blocked(
            f"{place}: TLS could not be agreed on: {said}",
            key=f"{target}/tls",
            mend=f"in the configuration of {target}, set tls as the server has it; its certificate must be verifiable",
        )
    if isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError)):
        return Transient(f"{place} cannot be reached or is busy: {said}")
    return Terminal(f"{place}: {said}")


@contextmanager
def translated(*, target: str, user: str) -> Iterator[None]:
    """Everything redis-py raises inside comes out as a StepFailure."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise translate(error, target=target, user=user) from None


def code_of(error: Exception) -> str | None:
    """The code of the server's reply; None if the error did not come from the server."""
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return code
    first, _, rest = str(error).partition(" ")
    return first if rest and first.isascii() and first.isalpha() and first.isupper() else None


def _told_safely(said: str) -> str:
    """Some servers repeat the AUTH command in what they say of it; only the first sentence is the reason."""
    return said.partition(".")[0]

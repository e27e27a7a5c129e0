"""What happens next after a forge's answer that is none: one wording for all forges.

`name` is the forge's, `gitea/main`. The keys of blocks begin with it, and name the repository where only that is meant:
all previews that one reason stops are woken by its mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

LONGEST_WAIT = timedelta(hours=2)
"""A forge that asks for more is asked again all the same: its clock may be wrong."""

PASSING = frozenset({408, 409, 423, 425, 429})
"""Besides the forge's own errors (5xx)."""


def refused_token(name: str) -> Blocked:
    """401."""
    return _blocked(name, "token", "does not take the credential", "Give the forge a new token or private key")


def forbidden(name: str, repository: str, said: str = "") -> Blocked:
    """403, and it is not a limit."""
    return _blocked(
        name,
        f"permission/{repository}",
        f"does not let the credential do this in {repository}{f' ({said})' if said else ''}",
        "Give it the rights that the provider's README lists",
    )


def hidden(name: str, repository: str) -> Blocked:
    """404 for the repository itself: it is not there, or not for this credential."""
    return _blocked(
        name,
        f"repository/{repository}",
        f"shows no repository {repository}",
        f"Correct the name, or let the credential see {repository}",
    )


def limited(name: str, after: timedelta | None) -> Transient:
    """Too many requests."""
    return Transient(f"{name} limits the rate of requests", retry_after=after)


def passing(name: str, status: int, after: timedelta | None = None) -> Transient:
    """The forge's own trouble."""
    return Transient(f"{name} cannot answer now (status {status})", retry_after=after)


def not_understood(name: str, why: str) -> Transient:
    """An answer that is not as documented: cut, of a proxy, of another version."""
    return Transient(f"{name} gives an answer that is not understood: {why}")


def refused(name: str, status: int, said: str) -> Terminal:
    """The forge finds the request itself wrong."""
    return Terminal(
        f"{name} refuses the request (status {status}{f': {said}' if said else ''})",
        mend="Report it to the platform's owners.",
    )


def by_status(name: str, repository: str, status: int, headers: Mapping[str, str], said: str) -> StepFailure:
    """What most forges mean by a status. 404 is not here: what is missing must be asked first."""
    after = retry_after(headers)
    if status == 401:
        return refused_token(name)
    if status == 429:
        return limited(name, after)
    if status >= 500 or status in PASSING:
        return passing(name, status, after)
    if status in (403, 451):
        return forbidden(name, repository, said)
    if status < 400:
        return not_understood(name, f"status {status}")
    return refused(name, status, said)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """What the header Retry-After asks for, in seconds or as a date; None if there is none that can be read."""
    given = headers.get("retry-after", "").strip()
    if given.isdecimal():
        return bounded(timedelta(seconds=min(int(given), 10**6)))
    try:
        moment = parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    return bounded((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC))


def bounded(wait: timedelta) -> timedelta:
    """Neither in the past nor for ever."""
    return min(max(wait, timedelta()), LONGEST_WAIT)


def plain(said: object) -> str:
    """What a forge says of an error, in one short line."""
    return "".join(each if each.isprintable() else " " for each in said)[:200].strip() if isinstance(said, str) else ""


def _blocked(name: str, reason: str, what: str, mend: str) -> Blocked:
    key = f"{name}/{reason}"
    return Blocked(f"{name} {what}", key=key, mend=f"{mend}, then: twin blocks resolve {key}")

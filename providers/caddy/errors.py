"""From what Caddy's admin API answers to the classes of failure: one table, one edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec

from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

NO_SUCH_SERVER = "invalid traversal path"
"""What Caddy says of a path below something that is not there."""

_LONGEST = 500


def translate(status: int, said: str, *, target: str, server: str) -> StepFailure:
    """What an answer that is no success means."""
    said = said[:_LONGEST]
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Blocked(
            f"Caddy of {target} lets nobody from here use its admin API ({status}): {said}",
            key=f"{target}/admin",
            mend=f"in the configuration of the Caddy of {target}, allow the origin in admin.origins",
        )
    if NO_SUCH_SERVER in said:
        return Blocked(
            f'Caddy of {target} has no HTTP server "{server}": {said}',
            key=f"{target}/server",
            mend=f'name one of the servers in apps.http.servers of the Caddy of {target}, or make "{server}"',
        )
    if status == httpx.codes.NOT_FOUND:
        return Blocked(
            f"Caddy of {target} does not know what it is asked for: {said}",
            key=f"{target}/version",
            mend=f"give {target} the address of the admin API of Caddy 2.9 or newer",
        )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Transient(f"Caddy of {target} answers {status}: {said}")
    return Terminal(f"Caddy of {target} refuses the configuration ({status}): {said}")


@contextmanager
def translated(*, target: str) -> Iterator[None]:
    """A server that is away, or no Caddy, comes out as a StepFailure."""
    try:
        yield
    except (httpx.HTTPError, OSError) as error:
        why = str(error) or type(error).__name__
        raise Transient(f"The admin API of {target} cannot be reached: {why}") from None
    except (httpx.InvalidURL, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Blocked(
            f"What answers as the admin API of {target} is no Caddy: {error}",
            key=f"{target}/version",
            mend=f"give {target} the address of the admin API of Caddy 2.9 or newer",
        ) from None

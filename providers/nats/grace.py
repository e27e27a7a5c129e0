"""Time for those who log in while the server reloads.

A reload looks at who is connected, closes the connections whose user is gone, and then checks all others. Who has
connected and has not yet said who he is cannot pass: he is told "Authorization Violation", although there is nothing
wrong with his login (nats-server 2.15, `reloadAuthorization`; measured in README.md). So the twin keeps a user of its
own that goes with every reload, and connects as that user before, with so many subscriptions that closing the
connection takes the server as long as the target's `reload_grace` says. Between its look and its check, everybody who
is logging in gets to say his name.

It is a courtesy and no condition: where it does not come about, the reload goes on without.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from providers.nats.accounts import Account
from providers.nats.users import admin, with_hash

ACCOUNT = "twin_reload"
"""The account of that user; nothing else is in it."""

MARK = "twin:reload"

SUBSCRIPTIONS = 500
"""Per millisecond: each takes about 2 µs when the connection is closed, and as much when it is made."""

PATIENCE = 5.0
"""Seconds for connecting and subscribing."""


def is_due(accounts: Mapping[str, Account]) -> bool:
    """Whether anybody but the twin could be logging in."""
    return any(
        user.user != admin(name) for name, account in accounts.items() if name != ACCOUNT for user in account.users
    )


def renewed(accounts: Mapping[str, Account], password: str) -> dict[str, Account]:
    """The account with the next user in the place of the one that goes."""
    user = f"{ACCOUNT}.{_round(accounts) + 1}"
    return {ACCOUNT: Account((with_hash(user, password, None),), None, MARK)}


@asynccontextmanager
async def crowded(
    host: str, port: int, accounts: Mapping[str, Account], password: str, milliseconds: int
) -> AsyncIterator[None]:
    """Be connected as the user that the next reload takes away, so that this takes so long.

    That is the one in the file; or the one before, where the reload for the file as it stands was lost to a crash.
    """
    writer = None
    try:
        if ACCOUNT in accounts:
            for number in (_round(accounts), _round(accounts) - 1):
                writer = await _connected(host, port, f"{ACCOUNT}.{number}", password, milliseconds)
                if writer is not None:
                    break
        yield
    finally:
        if writer is not None:
            await _close(writer)


def _round(accounts: Mapping[str, Account]) -> int:
    account = accounts.get(ACCOUNT)
    return int(account.users[0].user.rpartition(".")[2]) if account else 0


async def _connected(host: str, port: int, user: str, password: str, milliseconds: int) -> asyncio.StreamWriter | None:
    """Log in and subscribe, in the server's own words: a client library takes ten times as long for so many. None if
    that does not succeed."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            await reader.readline()
            login = {"user": user, "pass": password, "verbose": False, "pedantic": False, "name": "twin"}
            writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\n")
            writer.write(
                b"".join(b"SUB grace.%d %d\r\n" % (number, number) for number in range(SUBSCRIPTIONS * milliseconds))
            )
            writer.write(b"PING\r\n")
            await writer.drain()
            if await reader.readline() == b"PONG\r\n":
                return writer
    except (OSError, TimeoutError):
        pass
    except BaseException:
        if writer is not None:
            await _close(writer)
        raise
    if writer is not None:
        await _close(writer)
    return None


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the server has closed it first: that was the point
        await writer.wait_closed()

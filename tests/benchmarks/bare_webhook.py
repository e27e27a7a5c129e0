"""The floor of a webhook's answer: the body is read, its signature checked, one row committed; nothing follows.

    python -m tests.benchmarks.bare_webhook PORT DATABASE

DATABASE is a file for SQLite (WAL, `synchronous=FULL`, on the event loop: nobody else is served) or PostgreSQL's URL.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import psycopg
import uvicorn
from litestar import Litestar, Request, get, post
from litestar.exceptions import NotAuthorizedException

SECRET = "a secret of sixteen letters and more"
CONNECTIONS = 8

Keep = Callable[[str, bytes], Awaitable[None]]

TABLE = "CREATE TABLE deliveries (id TEXT PRIMARY KEY, body {} NOT NULL)"


@asynccontextmanager
async def on_sqlite(file: str) -> AsyncIterator[Keep]:
    """Rows of a file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(TABLE.format("BLOB"))

        async def keep(id_: str, body: bytes) -> None:
            connection.execute("INSERT INTO deliveries VALUES (?, ?)", (id_, body))

        yield keep


@asynccontextmanager
async def on_postgres(url: str) -> AsyncIterator[Keep]:
    """Rows of a database, by as many connections as are free."""
    free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        for number in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
            stack.push_async_callback(connection.close)
            if number == 0:
                await connection.execute(TABLE.format("BYTEA"))
            free.put_nowait(connection)

        async def keep(id_: str, body: bytes) -> None:
            connection = await free.get()
            try:
                await connection.execute("INSERT INTO deliveries VALUES (%s, %s)", (id_, body))
            finally:
                free.put_nowait(connection)

        yield keep


@get("/ready")
async def ready() -> str:
    """It is."""
    return "yes"


@post("/webhooks/github/main", status_code=202)
async def take(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Take a delivery."""
    body = await request.body()
    right = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(request.headers.get("x-hub-signature-256", ""), right):
        raise NotAuthorizedException
    id_ = request.headers["x-github-delivery"]
    await request.app.state.keep(id_, body)
    return {"delivery": id_}


async def main() -> None:
    database = sys.argv[2]
    async with (on_postgres if "://" in database else on_sqlite)(database) as keep:
        app = Litestar(route_handlers=[ready, take], openapi_config=None, logging_config=None)
        app.state.keep = keep
        config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())

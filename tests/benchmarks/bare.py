"""The floor of the edge: Litestar under uvicorn as Twin runs it, with an answer of the same size and no work behind it.

python -m tests.benchmarks.bare PORT SOCKET_BYTES
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
from litestar import Litestar, Request, get, post
from msgspec import Struct


class View(Struct):
    """About as much as an environment's view holds."""

    id: str
    text: str


ANSWER = View("it", "x" * int(sys.argv[2]))


@get("/view")
async def view() -> View:
    """Read."""
    return ANSWER


@post("/signals", status_code=202)
async def signals(request: Request[Any, Any, Any]) -> View:
    """Accept."""
    await request.json()
    return ANSWER


def main() -> None:
    app = Litestar(route_handlers=[view, signals], openapi_config=None, logging_config=None)
    config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()

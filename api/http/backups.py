"""A copy of the twin's own state."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import BinaryIO

from litestar import post
from litestar.di import NamedDependency
from litestar.response import Stream

from api.http.description import Answer, Content, described
from api.services import Services
from twin.service.principals import Request as Asked

SQLITE = "application/vnd.sqlite3"
_CHUNK = 1024 * 1024

_COPY = Answer(
    says="The database as a SQLite file, as of one moment; the vault's key is not in it",
    contents=(Content(type=None, example="SQLite format 3", media_type=SQLITE),),
    headers={"Content-Length": "Its size: an answer that is shorter is no copy"},
)


@post("/v1/backups", status_code=200, tags=["platform"], opt=described({200: _COPY}, problems=(409,)))
async def take_backup(services: NamedDependency[Services], asked: NamedDependency[Asked]) -> Stream:
    """Copy all of the twin's state while it serves. Needs admin; recorded. PostgreSQL: 409 with the command to use."""
    file = await services.backups.take(asked)
    headers = {"Content-Length": str(os.fstat(file.fileno()).st_size), "Cache-Control": "no-store"}
    return Stream(_chunks(file), media_type=SQLITE, headers=headers)


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk

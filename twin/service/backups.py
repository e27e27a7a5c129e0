"""Copies of the twin's own state, made while it serves; each one is recorded, for all history is in it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from twin.domain.errors import Unavailable
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.ports.store import Store, Tx
from twin.service.principals import Request

_PREFIX = "backup-"


class Backups:
    """Makes the copies in `directory`, which only the service's owner may read, one at a time."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._turn = asyncio.Lock()

    async def take(self, request: Request) -> BinaryIO:
        """A copy of all that is committed: an open file without a name, gone once it is closed. Needs admin.

        The vault's key is not in it, so what is sealed stays so. Raises `Rejected` with the command to use where the
        database has means of its own.
        """
        request.by.require("admin", "*")
        async with self._turn:
            file = await self._copy()
        try:
            fact = Fact(what="backup_taken", details={"bytes": os.fstat(file.fileno()).st_size})

            def keep(tx: Tx) -> None:
                tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)

            await self._store.transact(keep)
        except BaseException:
            file.close()
            raise
        return file

    async def _copy(self) -> BinaryIO:
        try:
            for left in self._directory.glob(f"{_PREFIX}*"):
                left.unlink()  # of a process that was killed; there is no other one now
            descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=_PREFIX)
        except OSError as error:
            raise Unavailable(f"{self._directory}: {error.strerror}", mend="Look at its disk.") from error
        os.close(descriptor)
        try:
            await self._store.copy(Path(name))
            return open(name, "rb")  # noqa: ASYNC230 - local, and handed over open
        finally:
            os.unlink(name)

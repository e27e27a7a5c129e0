"""Running a command that dies with the worker, under its guard.

What is secret goes by the pipe to the guard (environment, input), never by an argv: everybody on a machine reads those.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from twin.children.environment import loader
from twin.children.hiding import hide

GUARD = Path(__file__).with_name("guard.py")
LONGEST_LINE = 64 * 1024**2  # bytes
_OUTPUT_BYTES = 256 * 1024
_BEAT_SECONDS = 1.0
_LAST_WORDS_SECONDS = 1.0
_LAST_WORDS = 600

_NO_INTERPRETER = re.compile(
    r"error while loading shared libraries|error loading shared library|library not loaded|symbol lookup error"
    r"|symbol not found|version `[^']+' not found|fatal python error|could not find platform",
    re.IGNORECASE,
)


class NoInterpreter(Exception):
    """The twin's own Python does not start in a clean environment; the message is what it or the loader said."""


class User(Struct, frozen=True):
    """Another user of the operating system, by numbers, to run a command as; without any group of ours."""

    uid: int
    gid: int


class Output(Struct, frozen=True):
    """How a command ended (as a shell tells it: 128 + signal), and the last of what it said."""

    code: int
    text: str


async def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    marks: Mapping[str, str],
    deadline: datetime,
    beat: Callable[[], Awaitable[None]],
    user: User | None = None,
    input: str | None = None,  # noqa: A002 - as subprocess calls it
    on_line: Callable[[str], None] | None = None,
    secrets: Sequence[str] = (),
    limits: Mapping[str, int] | None = None,
) -> Output:
    """Run a command that dies with us, and return its last output without `secrets`.

    `env` is all of its environment; `marks` also stand in the guard's. `input` is what it reads from stdin. With
    `on_line` each line of its stdout goes there as it comes, and the output is what it said on stderr. `beat` is called
    each second or two. `limits` are the system's, by their names without RLIMIT_ (FSIZE, in bytes). Raises TimeoutError
    at `deadline`, NoInterpreter if no guard can start; whatever ends the wait, cancelling too, and whatever `beat`
    raises, kills the command and all that it started.
    """
    guard = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(GUARD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**loader(), **marks},
        cwd="/",
        start_new_session=True,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    assert guard.stderr is not None
    said, own = _Said(), _Said()
    listening = said.read(guard.stdout) if on_line is None else _lines(guard.stdout, on_line)
    reading = [asyncio.create_task(listening), asyncio.create_task(own.read(guard.stderr))]
    ending = asyncio.create_task(guard.wait())
    try:
        wanted = {
            "command": list(command),
            "cwd": str(cwd),
            "env": dict(env),
            "as": as_user(user),
            "input": input,
            "apart": on_line is not None,
            "limits": dict(limits or {}),
        }
        guard.stdin.write(json.dumps(wanted).encode() + b"\n")
        async with asyncio.timeout((deadline - datetime.now(UTC)).total_seconds()):
            while not ending.done():
                await asyncio.wait({ending}, timeout=_BEAT_SECONDS)
                await beat()
    finally:
        guard.stdin.close()  # the guard kills the group and ends
        await ending
        # not for ever: a process that left the group may hold the pipe open
        await asyncio.wait(reading, timeout=_LAST_WORDS_SECONDS)
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
    for task in reading:
        if not task.cancelled() and (failure := task.exception()):
            raise failure
    if ending.result() and (failed := interpreter_failed(own.bytes())):
        raise NoInterpreter(failed)
    return Output(ending.result(), hide((own if on_line else said).text(), secrets))


def as_user(user: User | None) -> dict[str, object]:
    """The arguments of Popen that make a command another user's."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def interpreter_failed(said: bytes) -> str:
    """Its last words, if an interpreter or the system's loader has given up before our program began; else empty."""
    text = said.decode("utf-8", "replace").strip()
    return text[-_LAST_WORDS:] if _NO_INTERPRETER.search(text) else ""


async def _lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take(line.decode("utf-8", "replace"))
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line of more than {LONGEST_LINE} bytes")


class _Said:
    """The end of what a stream gives, so that endless output costs no memory."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(65536):
            self._chunks.append(chunk)
            self._size += len(chunk)
            while self._size - len(self._chunks[0]) > _OUTPUT_BYTES:
                self._size -= len(self._chunks.popleft())

    def bytes(self) -> bytes:
        return b"".join(self._chunks)

    def text(self) -> str:
        return self.bytes().decode("utf-8", "replace")

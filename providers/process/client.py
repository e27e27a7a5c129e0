"""Starting processes: replicas that outlive the worker, and commands that must not."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from providers.process.account import Account
from providers.process.environment import loader
from providers.process.errors import blocked_by_interpreter, hide, interpreter_failed, words_to_hide_in_logs
from providers.process.layout import Layout, ServiceDirectory
from twin.domain.errors import Terminal, Transient

SUPERVISOR = Path(__file__).with_name("supervisor.py")
GUARD = Path(__file__).with_name("guard.py")
PORTS = range(20000, 32000)  # below the range that systems hand out for outgoing connections
ADDRESS_IN_USE = re.compile(r"address (is )?already in use|EADDRINUSE|errno (98|48)\b", re.IGNORECASE)
_OUTPUT_BYTES = 256 * 1024
_START_SECONDS = 30.0
_BEAT_SECONDS = 2.0
_LAST_WORDS_SECONDS = 1.0


class Order(Struct, frozen=True, kw_only=True):
    """One replica to start. `env` holds secrets: an order travels through a pipe only and is never printed."""

    index: int
    digest: str
    command: list[str]
    env: dict[str, str]
    secrets: list[str]
    cwd: Path
    port: int | None
    host: str
    account: Account | None

    @property
    def slot(self) -> str:
        """The name of the slot: one replica's place under one version of its specification."""
        return f"{self.index}-{self.digest}"

    def __repr__(self) -> str:
        return f"Order({self.slot})"


class Output(Struct, frozen=True):
    """How a guarded command ended, and the last of what it said."""

    code: int
    text: str


def start(layout: Layout, directory: ServiceDirectory, order: Order, marks: dict[str, str], *, target: str) -> bool:
    """Start a replica under its supervisor; blocks for tens of milliseconds. False if the slot was taken meanwhile.

    Idempotent by the slot's lock. Raises Terminal if the command cannot be started at all, Blocked if no Python can.
    """
    lock = directory.slots / f"{order.slot}.lock"
    lock.touch(mode=0o600)  # the supervisor does not create it: one that comes after a removal finds nothing to lock
    candidates = random.sample(PORTS, 32)
    if order.port is not None:
        candidates.insert(0, order.port)
    hidden = sorted({*words_to_hide_in_logs(order.env), *order.secrets}, key=len, reverse=True)
    message = {
        "index": order.index,
        "digest": order.digest,
        "command": order.command,
        "env": order.env,
        "cwd": str(order.cwd),
        "host": order.host,
        "as": as_account(order.account),
        "ports": candidates,
        "reservations": str(layout.ports),
        "lock": str(lock),
        "state": str(directory.slots / f"{order.slot}.json"),
        "log": str(directory.logs / f"{order.slot}.log"),
        "hidden": hidden,
    }
    try:
        launched = subprocess.run(  # noqa: S603 - our own file; the order is in stdin
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(directory.slots / order.slot)],
            input=json.dumps(message).encode(),
            capture_output=True,
            env=loader() | marks,
            cwd="/",
            start_new_session=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Transient(f"Replica {order.index} could not be started within {_START_SECONDS:g} s.") from None
    answer = json.loads(launched.stdout or b"{}")
    match answer.get("error", "" if "port" in answer else "silent"):
        case "":
            return True
        case "taken":
            return False
        case "command":
            raise Terminal(
                f"The command {order.command[0]!r} cannot be started: {answer['message']}.",
                field="command",
                mend="Name a program that is in the source (./run.sh) or on the PATH of the twin's machine.",
            )
        case "no-port":
            raise Transient(f"No free port was found for replica {order.index}.")
        case _:
            if failed := interpreter_failed(launched.stderr):
                raise blocked_by_interpreter(target, failed)
            raise Transient(f"The supervisor of replica {order.index} ended before it started the command.")


async def run_guarded(
    command: Sequence[str],
    *,
    target: str,
    account: Account | None,
    cwd: Path,
    env: dict[str, str],
    marks: dict[str, str],
    deadline: datetime,
    beat: Callable[[], Awaitable[None]],
    secrets: Sequence[str] = (),
) -> Output:
    """Run a command that dies with us, and return its last output without `secrets`.

    Raises TimeoutError at `deadline`, Blocked if no Python can start; cancelling kills the command's process group too.
    """
    guard = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(GUARD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=loader() | marks,
        cwd="/",
        start_new_session=True,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    assert guard.stderr is not None
    said, own = _Said(), _Said()
    reading = [asyncio.create_task(said.read(guard.stdout)), asyncio.create_task(own.read(guard.stderr))]
    ending = asyncio.create_task(guard.wait())
    try:
        wanted = {"command": list(command), "cwd": str(cwd), "env": env, "as": as_account(account)}
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
    if ending.result() and (failed := interpreter_failed(own.bytes())):
        raise blocked_by_interpreter(target, failed)
    return Output(ending.result(), hide(said.text(), secrets))


def as_account(account: Account | None) -> dict[str, Any]:
    """The arguments of Popen that make a command another user's, without any group of ours."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


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

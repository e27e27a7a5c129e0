"""Starting processes: replicas that outlive the worker, and commands that must not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from providers.process.account import Account
from providers.process.errors import blocked_by_interpreter, words_to_hide_in_logs
from providers.process.layout import Layout, ServiceDirectory
from twin.children import running
from twin.children.environment import loader
from twin.children.running import NoInterpreter, Output, interpreter_failed
from twin.domain.errors import Terminal, Transient

SUPERVISOR = Path(__file__).with_name("supervisor.py")
PORTS = range(20000, 32000)  # below the range that systems hand out for outgoing connections
ADDRESS_IN_USE = re.compile(r"address (is )?already in use|EADDRINUSE|errno (98|48)\b", re.IGNORECASE)
_START_SECONDS = 30.0


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
        "as": running.as_user(order.account.user if order.account else None),
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
    on_line: Callable[[str], None] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Output:
    """Run a command that dies with us (`twin.children.running`) as the target's account. Raises TimeoutError at
    `deadline`, Blocked if no Python can start."""
    try:
        return await running.run(
            command,
            cwd=cwd,
            env=env,
            marks=marks,
            deadline=deadline,
            beat=beat,
            user=account.user if account else None,
            secrets=secrets,
            on_line=on_line,
            limits=limits,
        )
    except NoInterpreter as failed:
        raise blocked_by_interpreter(target, str(failed)) from None

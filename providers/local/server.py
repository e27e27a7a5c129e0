"""One server's life: prepare, start once, find again, stop. The same for every kind of server."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import psutil
from msgspec import Struct

from providers.local import ports, processes
from providers.local.account import Account
from providers.local.files import State, last_lines, load_state, private_directory, save_state
from twin.domain.errors import Unavailable
from twin.domain.targets import Target

READY_SECONDS = 60.0
"""How long a server may take from its launch to its first answer (a first start on a slow disk included)."""

STOP_SECONDS = 20.0
"""How long a server may take to end by itself before it is killed."""


Condition = Literal["running", "stopped", "failed"]


class NotAnswering(Exception):
    """The server does not answer as ours should (yet); the text says how."""


class Software(Protocol):
    """What differs between the kinds of servers. `directory` is the server's own, made before all else."""

    kind: str
    directory: Path
    stop_signal: signal.Signals
    account: Account | None
    inherits: bool
    """Whether it is given its listening socket, as descriptor `processes.GIVEN`, and opens none by itself."""

    @property
    def argv(self) -> Sequence[str]:
        """The command line: the same at every start, without secrets, naming our config or data directory."""
        ...

    @property
    def home(self) -> Path:
        """Where the server itself writes; elsewhere than `directory` only where it must."""
        ...

    def prepare(self, state: State, port: int) -> None:
        """Make data, credentials and config for that port; idempotent. The server does not run."""
        ...

    def finish(self, port: int) -> None:
        """What needs the running server, done at every start; idempotent. Raises `NotAnswering`."""
        ...

    def check(self, state: State, port: int) -> str:
        """The version, as the server says after taking our password. Raises `NotAnswering`."""
        ...

    def target(self, port: int) -> tuple[Target, dict[str, str]]:
        """The target that stands for it, and its credentials."""
        ...


class ServerStatus(Struct, frozen=True, kw_only=True):
    """How one server is. `failed`: it should run, but is gone or does not answer; `log` tells more."""

    kind: str
    state: Condition
    pid: int | None
    port: int | None
    directory: Path
    log: Path
    version: str


class Server:
    """One server below `software.directory`, shared by all processes that use the same directory."""

    def __init__(self, software: Software) -> None:
        self.software = software
        self._directory = software.directory
        self._log = self._directory / "server.log"
        self._state_file = self._directory / "state.json"

    def start(self) -> None:
        """Have it running and answering; at once if it does already. Raises `Unavailable`."""
        with self._locked():
            state = load_state(self._state_file)
            deadline = time.monotonic() + READY_SECONDS
            process = self._find(state)
            if process is not None:
                if state.port is not None and self._answers(process, state, state.port, deadline):
                    try:
                        self._finish(state, process, state.port)
                    except NotAnswering as refused:
                        raise self._unavailable(str(refused)) from None
                    return
                # Ours, but deaf: it hangs, or the state file is lost and with it the port.
                processes.terminate(process, self.software.stop_signal, patience=STOP_SECONDS)
                deadline = time.monotonic() + READY_SECONDS
            self._launch(state, deadline)

    def stop(self) -> None:
        """Have it ended, with its data kept; already stopped is success."""
        if not self._directory.exists():
            return
        with self._locked():
            state = load_state(self._state_file)
            process = self._find(state)
            if process is not None:
                processes.terminate(process, self.software.stop_signal, patience=STOP_SECONDS)
            state.pid, state.created, state.wanted = None, 0.0, False
            save_state(self._state_file, state)

    def remove(self) -> None:
        """Stop it and delete its data, wherever they are."""
        self.stop()
        for place in (self.software.home, self._directory):
            if place.exists():
                shutil.rmtree(place)

    def status(self) -> ServerStatus:
        """How it is now: asks the server, changes nothing."""
        state = load_state(self._state_file)
        process = self._find(state)
        version = state.version
        condition: Condition = "failed" if state.wanted else "stopped"
        if process is not None and state.port is not None:
            try:
                version, condition = self.software.check(state, state.port), "running"
            except NotAnswering:
                condition = "failed"
        return ServerStatus(
            kind=self.software.kind,
            state=condition,
            pid=process.pid if process else None,
            port=state.port,
            directory=self._directory,
            log=self._log,
            version=version,
        )

    def target(self) -> tuple[Target, dict[str, str]] | None:
        """Its target and credentials; None before the first start."""
        port = load_state(self._state_file).port
        return None if port is None else self.software.target(port)

    def _launch(self, state: State, deadline: float) -> None:
        problem = "it ended at once"
        # Again if it ends early: its port may just have been taken, or children of a killed predecessor still end.
        for _ in range(5):
            port = ports.choose(state.port)
            self.software.prepare(state, port)
            state.port, state.wanted = port, True
            save_state(self._state_file, state)
            try:
                process = self._launched(port)
            except OSError as taken:
                problem = f"port {port} cannot be listened on: {taken.strerror}"
                continue
            if process is not None:
                state.pid, state.created = process.pid, process.create_time()
                save_state(self._state_file, state)
                try:
                    if self._answers(process, state, port, deadline):
                        self._finish(state, process, port)
                        return
                except NotAnswering as refused:
                    problem = str(refused)
                if processes.is_alive(process):
                    processes.terminate(process, self.software.stop_signal, patience=STOP_SECONDS)
                    problem = f"it did not answer in time ({problem})"
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        raise self._unavailable(problem)

    def _launched(self, port: int) -> psutil.Process | None:
        with contextlib.ExitStack() as stack:
            listening = None
            if self.software.inherits:
                listening = stack.enter_context(ports.listening(port))
            return processes.launch(
                self.software.argv,
                log=self._log,
                directory=self.software.home,
                account=self.software.account,
                listening=listening,
            )

    def _answers(self, process: psutil.Process, state: State, port: int, deadline: float) -> bool:
        """Wait until it answers; False when it ended or the deadline is over."""
        pause = 0.02
        while processes.is_alive(process):
            try:
                state.version = self.software.check(state, port)
            except NotAnswering:
                if time.monotonic() > deadline:
                    return False
                time.sleep(pause)
                pause = min(pause * 1.5, 0.2)
            else:
                return True
        return False

    def _finish(self, state: State, process: psutil.Process, port: int) -> None:
        # Also for a server that runs already: its starter may have been killed just before.
        self.software.finish(port)
        state.pid, state.created, state.port, state.wanted = process.pid, process.create_time(), port, True
        save_state(self._state_file, state)

    def _find(self, state: State) -> psutil.Process | None:
        return processes.find(self.software.argv, state.pid, state.created) if self._directory.exists() else None

    def _unavailable(self, problem: str) -> Unavailable:
        lines = last_lines(self._log)
        said = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
        return Unavailable(
            f"The local {self.software.kind} server does not start: {problem}. Its log ends with:\n{said}",
            mend=f"See {self._log}, mend the cause, start again.",
            details={"kind": self.software.kind, "log": lines},
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time may start or stop this server."""
        private_directory(self._directory)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

"""A served Twin in a process of its own, for figures about processes: start-up, memory, REST, kills."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.machine import PROJECT


def free_port() -> int:
    """On loopback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Served:
    """A process of `tests.benchmarks.server` or `bare`, which answers at `url` once `ready` returns."""

    def __init__(self, directory: Path, *arguments: str, port: int | None = None, **environ: object) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        others = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
        mine = {
            "TWIN_DATA_DIR": str(directory),
            "TWIN_PORT": str(self.port),
            "TWIN_LOCAL": "off",
            "TWIN_LOG_FORMAT": "json",
            "TWIN_SLOTS": "64",
        }
        self.began = time.monotonic()
        with (directory / "served.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *(each.replace("PORT", str(self.port)) for each in arguments)],
                cwd=PROJECT,
                env=others | mine | {name: str(value) for name, value in environ.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self, path: str = "/readyz") -> float:
        """Seconds from the start until it answers."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url + path, timeout=5) as answer:
                if answer.status == 200:
                    return time.monotonic() - self.began
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise RuntimeError((self.directory / "served.log").read_text()[-2000:])

    @property
    def token(self) -> str:
        """The admin's."""
        return (self.directory / "token").read_text().strip()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """SIGTERM, then SIGKILL."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def serving(directory: Path, **environ: object) -> Iterator[Served]:
    """`twin serve` on the directory's `twin.db`."""
    served = Served(directory, "tests.benchmarks.server", "serve", **environ)
    try:
        served.ready()
        yield served
    finally:
        served.end()

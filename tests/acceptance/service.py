"""The twin as its users have it: real processes with a data directory and a port of their own, asked through REST."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import eventually
from twin.children.processes import marked, send
from twin.domain.identity import EnvironmentId, ownership_mark
from twin.service.bundles import pack

Json = dict[str, Any]

TWIN = (sys.executable, "-m", "api.cli.main")
START_SECONDS = 60.0
SETTLED = ("ready", "blocked", "failed", "suspended", "destroyed")


class Service:
    """A twin in `directory`. `settings` become TWIN_ variables; the processes may be killed and started at will.
    `program`: what `serve` and `worker` are commands of."""

    def __init__(self, directory: Path, program: tuple[str, ...] = TWIN, **settings: object) -> None:
        self.directory = directory
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environments: list[str] = []
        self._program = program
        self._settings = _variables(settings)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._client: httpx.Client | None = None

    # -- processes

    @property
    def log(self) -> Path:
        """What all processes wrote to stderr."""
        return self.directory.with_suffix(".log")

    @property
    def environ(self) -> dict[str, str]:
        """The variables of our processes."""
        mine = {"TWIN_DATA_DIR": str(self.directory), "TWIN_PORT": str(self.port), "TWIN_URL": self.url}
        others = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
        return others | mine | {"TWIN_LOG_FORMAT": "json"} | self._settings

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[bytes]:
        """A process of the twin, such as `worker`; `settings` are its own."""
        environ = self.environ | _variables(settings)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._program, *arguments], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def serve(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`twin serve`, once it is ready."""
        process = self.start("serve", *arguments)
        self.wait_until_ready(process)
        return process

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Until /readyz says so; the process must not end meanwhile."""

        def ready() -> bool:
            assert process.poll() is None, f"the service ended with {process.returncode}: {self.last_lines()}"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == 200
            return False

        eventually(ready, within=START_SECONDS, why=self.last_lines)

    def work(self, number: int = 1) -> list[subprocess.Popen[bytes]]:
        """So many `twin worker`, once all are ready."""
        before = self._ready_workers()
        workers = [self.start("worker") for _ in range(number)]
        eventually(lambda: self._ready_workers() == before + number, within=START_SECONDS, why=self.last_lines)
        return workers

    def _ready_workers(self) -> int:
        return self.log.read_bytes().count(b"Twin worker is ready") if self.log.exists() else 0

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9, with no chance to do anything before."""
        process.kill()
        process.wait()
        self._processes.remove(process)
        self._forget_connections()

    def stop(self, process: subprocess.Popen[bytes], *, within: float = 30.0) -> None:
        """SIGTERM, and its end."""
        process.terminate()
        assert process.wait(within) == 0, self.last_lines()
        self._processes.remove(process)
        self._forget_connections()

    def close(self) -> None:
        """End whatever is left of us, with what we started for environments."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self._processes.clear()
        self._forget_connections()
        for environment in self.environments:
            send(marked(ownership_mark(EnvironmentId(environment))), signal.SIGKILL)

    def last_lines(self) -> str:
        """The end of the log."""
        return "\n" + "\n".join(self.log.read_text().splitlines()[-25:])

    def _forget_connections(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- requests

    @property
    def api(self) -> httpx.Client:
        """A client with the admin's token."""
        if self._client is None:
            token = (self.directory / "token").read_text().strip()
            self._client = httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=70
            )
        return self._client

    def get(self, path: str, **params: Any) -> Any:
        """The answer of a GET."""
        return _body(self.api.get(path, params=params))

    def post(self, path: str, body: Any) -> Any:
        """The answer of a POST."""
        return _body(self.api.post(path, json=body))

    def publish(self, folder: Path) -> None:
        """Publish a blueprint's folder."""
        _body(
            self.api.post("/v1/blueprints", content=pack(folder).content, headers={"Content-Type": "application/gzip"})
        )

    def create(self, name: str, blueprint: str, **fields: Any) -> Json:
        """Ask for an environment; what was accepted."""
        accepted: Json = self.post(
            "/v1/projects/shop/environments", {"name": name, "blueprint": blueprint, "tier": "dev", **fields}
        )
        self.environments.append(accepted["environment_id"])
        return accepted

    def signal(self, environment: str, signal: str, **fields: Any) -> Json:
        """Send a signal; what was accepted."""
        accepted: Json = self.post(f"/v1/environments/{environment}/signals", {"signal": signal, **fields})
        return accepted

    def environment(self, environment: str) -> Json:
        """The twin as it is now."""
        view: Json = self.get(f"/v1/environments/{environment}")
        return view

    def operation(self, accepted: Json, *, wait: float = 60.0) -> Json:
        """The operation that was accepted, when it has ended or after `wait` seconds."""
        view: Json = self.get(f"/v1/operations/{accepted['operation']['id']}", wait=wait)
        return view

    def succeeded(self, accepted: Json, *, within: float = 90.0) -> None:
        """Wait until the operation has succeeded."""
        view = eventually(
            lambda: (found := self.operation(accepted, wait=5))["status"] != "running" and found,
            within=within,
            why=lambda: (self.environment(accepted["environment_id"])["summary"], self.last_lines()),
        )
        assert view["status"] == "succeeded", (view, self.last_lines())

    def reaches(self, environment: str, *statuses: str, within: float = 60.0) -> Json:
        """Wait until the twin has one of the statuses; the twin then."""
        return eventually(
            lambda: (view := self.environment(environment))["status"] in statuses and view,
            within=within,
            why=lambda: (self.environment(environment)["summary"], self.last_lines()),
        )

    def events(self, environment: str, *kinds: str) -> list[Json]:
        """The history, oldest first; of these types only, if any is named."""
        return [event for event in self._events(environment) if not kinds or event["type"] in kinds]

    def _events(self, environment: str) -> Iterator[Json]:
        after: Json = {}
        while True:
            page = self.get(f"/v1/environments/{environment}/events", limit=500, **after)
            yield from page["items"]
            if len(page["items"]) < 500:
                return
            after = {"after": page["next"]}

    def verify(self) -> Json:
        """Recompute every hash chain."""
        found: Json = self.post("/v1/audit/verifications", {})
        return found

    def twin(self, *arguments: str) -> str:
        """What a command of the command line says on stdout."""
        return self._run(*arguments).stdout

    def ends(self, code: int, *arguments: str) -> str:
        """The same of one that is to end with this exit code, and with what it says on stderr."""
        done = self._run(*arguments, code=code)
        return done.stdout + done.stderr

    def watch(self, *arguments: str) -> str:
        """What it says to whoever watches: progress goes to stderr."""
        done = self._run(*arguments)
        return done.stdout + done.stderr

    def _run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*TWIN, *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done


def _variables(settings: dict[str, object]) -> dict[str, str]:
    return {f"TWIN_{name.upper()}": str(value) for name, value in settings.items()}


def _body(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

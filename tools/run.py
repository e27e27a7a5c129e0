"""What `make run` and `make stop` do, once .venv is there: a service in the background, and the guestbook in it.

The data folder is .twin in the project unless TWIN_DATA_DIR names another; the port is TWIN_PORT or that of TWIN_URL.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from providers.local import LocalServers
from twin import settings as configuration
from twin.children import processes
from twin.domain.errors import Problem
from twin.domain.identity import EnvironmentId, ownership_mark
from twin.settings import Settings

PROJECT = Path(__file__).resolve().parent.parent
NAME = "guestbook"
TWIN = str(PROJECT / ".venv" / "bin" / "twin")
BLUEPRINT = Path("examples") / NAME
PATIENCE = 600.0
"""Seconds that the guestbook gets until it lives."""

GRACE = 10.0
"""Seconds that apps get to end by themselves."""

START = 90.0
"""Seconds that the service gets until it is ready; the first start makes a PostgreSQL cluster."""


class Failed(Exception):
    """What went wrong, and what mends it."""


def main() -> int:
    """Start or stop."""
    began = float(os.environ.pop("MADE_SINCE", time.time()))
    try:
        settings = _settings()
        service = Service(settings)
        if sys.argv[1:] == ["stop"]:
            service.stop()
            _end_apps(settings.process_dir / "environments")
            _say("stopping local servers")
            LocalServers(settings.local_dir).stop()
            _say(
                f"Stopped. Data stay in {settings.data_dir}. `make run` goes on with them and starts the guestbook's "
                "app again; `twin detect-drift ENV` does that for other environments."
            )
        else:
            service.start()
            _up(service)
            _tell(service, time.time() - began)
    except (Failed, Problem) as problem:
        _say(f"{problem}\n{problem.mend or ''}".rstrip() if isinstance(problem, Problem) else str(problem))
        return 1
    return 0


def _settings() -> Settings:
    """The settings as `twin` would read them, but data stay in the project, and URL and port agree."""
    given = os.environ
    given.setdefault("TWIN_DATA_DIR", str(PROJECT / ".twin"))
    if "TWIN_URL" not in given:
        given["TWIN_URL"] = f"http://127.0.0.1:{given.get('TWIN_PORT') or '8420'}"
    given.setdefault("TWIN_PORT", str(urlsplit(given["TWIN_URL"]).port or 8420))
    return configuration.read(given)


class Service:
    """`twin serve` in the background: its pid and log are in the data folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = settings.data_dir / "service.log"
        self._pid_file = settings.data_dir / "service.pid"

    def start(self) -> None:
        """Have it answering, with our token; one that answers already is left alone."""
        if not self._answers():
            self._check_port()
            self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _say("starting the service")
            with self.log.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    [TWIN, "serve"],
                    cwd=PROJECT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._pid_file.write_text(f"{process.pid}\n")
            self._await(process)
        self._check_token()

    def stop(self) -> None:
        """End the one that `start` started, letting its running steps finish."""
        process = self._process()
        if process is None:
            _say("no service was started from here")
        else:
            _say(f"stopping the service (process {process.pid})")
            process.terminate()
            try:
                process.wait(self.settings.drain + 15)
            except psutil.TimeoutExpired:
                raise Failed(
                    f"process {process.pid} does not end; see {self.log}, then: kill -9 {process.pid}"
                ) from None
        self._pid_file.unlink(missing_ok=True)

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            return process if process.cmdline()[-2:] == [TWIN, "serve"] else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.settings.url}/readyz", timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START
        while not self._answers():
            if process.poll() is not None:
                raise Failed(f"The service ended with code {process.returncode}. The end of {self.log}:\n{self._end()}")
            if time.monotonic() > until:
                raise Failed(f"The service is not ready after {START:.0f} s. The end of {self.log}:\n{self._end()}")
            time.sleep(0.1)

    def _end(self) -> str:
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-15:]).rstrip()

    def _check_port(self) -> None:
        place = (self.settings.host, self.settings.port)
        with socket.socket() as probe:
            probe.settimeout(5)
            if probe.connect_ex(place) == 0:
                raise Failed(
                    f"Something that is no twin, or one that is not ready, answers at {place[0]}:{place[1]}.\n"
                    "Choose another port: TWIN_PORT=8421 make run"
                )

    def _check_token(self) -> None:
        file = self.settings.token_file
        token = self.settings.token or (file.read_text().strip() if file.exists() else "none")
        url = f"{self.settings.url}/v1/blueprints"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise Failed(
                f"Another twin answers at {self.settings.url}: it refuses the token of {self.settings.data_dir}.\n"
                "Choose another port: TWIN_PORT=8421 make run"
            )


def _end_apps(environments: Path) -> None:
    """End the processes of every environment that has files there: SIGTERM, and SIGKILL after some seconds."""
    marks = [ownership_mark(EnvironmentId(path.name)) for path in environments.glob("env_*")]

    def find() -> list[processes.Marked]:
        return [process for mark in marks for process in processes.marked(mark)]

    async def nothing() -> None:
        """Nobody waits for a sign of life."""

    if found := find():
        _say(f"stopping {len(found)} processes of apps")
        if left := asyncio.run(processes.stop(find, grace=GRACE, beat=nothing)):
            pids = " ".join(str(process.pid) for process in left)
            raise Failed(f"Processes of apps do not end: {pids}. Try: kill -9 {pids}")


def _twin(*arguments: str) -> int:
    try:
        return subprocess.run([TWIN, *arguments], cwd=PROJECT, check=False, timeout=PATIENCE).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        raise Failed(f"Not done after {PATIENCE:.0f} s; the twin goes on trying. See: twin show {NAME}") from None


def _up(service: Service) -> None:
    if code := _twin("up", str(BLUEPRINT), "--name", NAME):
        raise Failed(f"`twin up` ended with code {code}. The service's log: {service.log}")
    if not _page_answers():
        # Processes end with the machine: have the twin look, and mend what it finds.
        _say("the guestbook does not answer; having the twin look")
        _twin("detect-drift", NAME)
        until = time.monotonic() + START
        while not _page_answers():
            if time.monotonic() > until:
                raise Failed(f"The guestbook does not answer. See: twin show {NAME}; twin logs {NAME}")
            time.sleep(0.5)


def _page_answers() -> bool:
    shown = subprocess.run([TWIN, "show", NAME, "--output", "json"], cwd=PROJECT, check=True, capture_output=True)  # noqa: S603
    url = json.loads(shown.stdout)["url"]
    try:
        return bool(url) and httpx.get(url, timeout=10).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _tell(service: Service, seconds: float) -> None:
    settings = service.settings
    folder = PROJECT / ".venv" / "bin"
    lines = [f"export TWIN_DATA_DIR={shlex.quote(str(settings.data_dir))} TWIN_URL={shlex.quote(settings.url)}"]
    if shutil.which("twin") != str(folder / "twin"):
        lines.append(f'export PATH={shlex.quote(str(folder))}:"$PATH"')
    environment = settings.data_dir / "env"
    environment.write_text("\n".join(lines) + "\n")
    shown = environment.relative_to(PROJECT) if environment.is_relative_to(PROJECT) else environment
    _say(
        f"\nData: {settings.data_dir}\n"
        f"Logs: {service.log} (the service), `twin logs {NAME}` (the app)\n"
        f"This shell knows `twin` after:  . {shown}\n"
        "To end service and servers:     make stop\n"
        f"Took {seconds:.0f} s."
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

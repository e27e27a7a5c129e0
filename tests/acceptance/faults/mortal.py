"""Processes of the twin on PostgreSQL, and a server behind it, of which one dies at a chosen COMMIT of the twin."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Literal
from urllib.parse import urlsplit

import httpx
import nats.errors
from msgspec import Struct

from providers.local import LocalServers
from tests.acceptance.catalogues import Catalogues, Opened, look
from tests.acceptance.faults.cut import Proxy, When
from tests.acceptance.faults.servers import kill
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

Victim = Literal["serve", "api", "worker", "nats"]
"""`serve` that also works; one that does not, beside a worker; that worker; or the server behind the component."""

_OF_AN_ENVIRONMENT = b"env_"
"""Stands in every transaction about an environment, and in no heartbeat."""


class Life(Struct):
    """What became of an environment."""

    died: bool
    commits: int
    outcomes: list[str]
    accepted: int
    standing: tuple[Counter[str], Counter[str]]
    left: bool


class Mortal:
    """A service on a database of its own. `live` is the life of an environment in which the victim dies once, and is
    started again at once."""

    def __init__(
        self, service: Service, database: str, victim: Victim, opened: tuple[Opened, ...], servers: LocalServers
    ) -> None:
        parts = urlsplit(database)
        assert parts.hostname is not None
        assert parts.port is not None
        self._service = service
        self._opened = opened
        self._servers = servers
        self._fallen = Event()
        self._victim = victim
        self._proxy = Proxy(parts.hostname, parts.port, self._strike)
        self._through = database.replace(f":{parts.port}/", f":{self._proxy.port}/")
        self._arguments = {"api": ("serve", "--no-worker"), "worker": ("worker",)}.get(victim, ("serve",))
        self._lives = 0
        service.twin("db", "upgrade")
        if victim == "worker":
            service.serve("--no-worker")
        self._mortal = self._start()
        if victim != "worker":
            service.wait_until_ready(self._mortal)
        if victim == "api":
            service.start("worker")

    def close(self) -> None:
        """The proxy's end."""
        self._proxy.close()

    def live(self, when: When, at: int) -> Life:
        """Create, scale, destroy; the victim dies at its `at`-th COMMIT about the environment, 0 for never."""
        self._lives += 1
        deaths = self._proxy.cuts
        self._proxy.arm(_OF_AN_ENVIRONMENT, when, at)
        name = f"dev-{self._lives}"
        body = {"name": name, "blueprint": "single", "tier": "dev"}
        accepted = self._send("/v1/projects/shop/environments", body, f"{name}-create")
        environment = accepted["environment_id"]
        self._service.environments.append(environment)
        outcomes = [self._end(accepted)]
        signals = f"/v1/environments/{environment}/signals"
        scale = {"signal": "scale", "component": "it", "max_messages": 500}
        outcomes.append(self._end(self._send(signals, scale, f"{name}-scale")))
        seen = self._look(environment)
        outcomes.append(self._end(self._send(signals, {"signal": "destroy"}, f"{name}-destroy")))
        self._revive()
        return Life(
            died=self._proxy.cuts > deaths,
            commits=self._proxy.passed,
            outcomes=outcomes,
            accepted=len(self._service.events(environment, "operation_accepted")),
            standing=(seen.accounts, seen.streams),
            left=not self._look(environment).empty,
        )

    def _look(self, environment: str) -> Catalogues:
        """What stands; the server may have died at this very moment."""

        def seen() -> Catalogues | None:
            self._revive()
            try:
                return look(self._opened, environment)
            except (OSError, nats.errors.Error):
                return None

        found = eventually(seen, within=30, why=self._service.last_lines)
        assert found is not None
        return found

    def _strike(self) -> None:
        if self._victim == "nats":
            kill(self._servers, self._victim)
            self._fallen.set()
            return
        self._mortal.kill()
        self._mortal.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return self._service.start(*self._arguments, database_url=self._through)

    def _revive(self) -> None:
        if self._fallen.is_set():
            self._servers.start(self._victim)
            self._fallen.clear()
        if self._mortal.poll() is not None:
            self._mortal = self._start()
            if "serve" in self._arguments:
                self._service.wait_until_ready(self._mortal)

    def _send(self, path: str, body: Json, key: str) -> Json:
        """Under the same key until it is answered."""
        headers = {"Idempotency-Key": key}
        answer = self._answered(lambda: self._service.api.post(path, json=body, headers=headers))
        accepted: Json = answer.json()
        return accepted

    def _end(self, accepted: Json) -> str:
        """How the operation ended."""
        path = f"/v1/operations/{accepted['operation']['id']}"

        def ended() -> str | None:
            status = self._answered(lambda: self._service.api.get(path, params={"wait": 1})).json()["status"]
            return None if status == "running" else str(status)

        return str(eventually(ended, within=60, why=self._service.last_lines))

    def _answered(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        def answer() -> httpx.Response | None:
            self._revive()
            try:
                found: httpx.Response = ask()
            except httpx.TransportError:
                return None
            if found.status_code == 503:
                return None
            assert found.is_success, (found.status_code, found.text)
            return found

        found = eventually(answer, within=60, why=self._service.last_lines)
        assert found is not None
        return found

"""Every answer that REST and the command line give about an environment and the platform, but those that reveal."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx

from tests.acceptance.service import Json, Service


def ask_everything(
    service: Service, environment: str, components: Sequence[str], *, logs: str | None = None
) -> Iterator[tuple[str, bytes]]:
    """What the API answers, by path. `logs` is the component that has a log, if one has."""
    one = f"/v1/environments/{environment}"
    operations = [event["operation_id"] for event in service.events(environment, "operation_accepted")]
    view = service.environment(environment)
    for path in (
        one,
        f"{one}?as_of=2100-01-01T00:00:00Z",
        f"{one}/events?limit=500",
        f"{one}/operations",
        f"{one}/credentials",
        *(f"{one}/why?component={name}" for name in components),
        *([f"{one}/logs?component={logs}&lines=1000"] if logs and view["status"] != "destroyed" else []),
        *([f"{one}/certificate"] if view["status"] == "destroyed" else []),
        *(f"/v1/operations/{operation}" for operation in operations),
        "/v1/environments",
        f"/v1/projects/{view['project']}/environments/{view['name']}",
        "/v1/audit?limit=500",
        "/v1/blocks",
        "/v1/blueprints",
        f"/v1/blueprints/{view['blueprint'].partition('@')[0]}",
        "/v1/targets",
        "/v1/types",
        "/v1/me",
        "/readyz",
        "/schema/openapi.json",
    ):
        answer = service.api.get(path)
        assert answer.is_success, (path, answer.status_code, answer.text)
        yield path, answer.content + repr(answer.headers).encode()
    for accept in ("application/x-ndjson", "text/csv"):
        answer = service.api.get("/v1/audit?limit=500", headers={"Accept": accept})
        assert answer.is_success
        yield accept, answer.content
    yield "verification", service.api.post("/v1/audit/verifications", json={}).content
    refused = service.api.post(f"{one}/signals", json={"signal": "scale", "component": components[-1], "replicas": -1})
    assert refused.is_client_error
    yield "refusal", refused.content


def run_everything(service: Service, name: str, app: str) -> Iterator[tuple[str, bytes]]:
    """What the command line shows of shop/`name`, by command; `app` is a component that scales. It shows nothing but
    what REST answers, so each view is asked for once."""
    one = f"shop/{name}"
    for command in (
        f"show {one}",
        f"credentials {one}",
        f"plan {one} scale {app} replicas=2",
        f"events {one}",
        f"why {one} {app}",
        f"logs {one}",
    ):
        yield command, service.twin(*command.split()).encode()


def plan(service: Service, environment: str, signal: Json, *, preview: bool = False) -> tuple[str, bytes]:
    """What a dry run answers."""
    path = f"/v1/environments/{environment}/signals?dry_run=true" + ("&preview=true" if preview else "")
    answer = service.api.post(path, json=signal)
    assert answer.is_success, answer.text
    assert answer.json()["steps"]
    return f"plan of {signal}", answer.content


class Follower:
    """Somebody who follows an environment's events and its progress, over all restarts."""

    def __init__(self, service: Service, environment: str) -> None:
        self.heard: list[bytes] = []
        self._url = f"{service.url}/v1/environments/{environment}/events?progress=true"
        token = (service.directory / "token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self._end = threading.Event()

    @contextmanager
    def following(self) -> Iterator[Follower]:
        """Until the end of the block."""
        thread = threading.Thread(target=self._follow, name="follower")
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _follow(self) -> None:
        with httpx.Client(headers=self._headers, trust_env=False, timeout=httpx.Timeout(5, read=2)) as client:
            while not self._end.is_set():
                with suppress(httpx.TransportError), client.stream("GET", self._url) as answer:
                    for chunk in answer.iter_bytes():
                        self.heard.append(chunk)
                        if self._end.is_set():
                            return

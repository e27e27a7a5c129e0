"""Rotation on real servers: nobody who uses the credential of the day is shut out, also when the twin is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.knocking import Knocker, Record, knock, verdict
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

SEED = 20_511
DOORS = {
    "db": ("postgres.database", "DATABASE_URL"),
    "cache": ("redis.keyspace", "REDIS_URL"),
    "jobs": ("nats.stream", "NATS_URL"),
}
GRACE = 4
"""Seconds for those outside to look what the credential of the day is."""


def blueprint(path: Path, component: str, record: Path) -> Path:
    """The component, and an app that logs in to it all the time."""
    type_, variable = DOORS[component]
    inputs = {"subjects": ["jobs.>"]} if component == "jobs" else {}
    made = folder(
        path,
        {
            component: {"type": type_, "inputs": inputs},
            "app": {
                "type": "process.service",
                "inputs": {
                    "command": ["python", "knocking.py"],
                    "env": {variable: f"${{{component}.secrets.url}}", "RECORD": str(record)},
                    "stop_grace": 2,
                },
            },
        },
        name=f"knocking-{component}",
    )
    (made / "knocking.py").write_bytes(Path(__file__).with_name("knocking.py").read_bytes())
    return made


class Outside:
    """A consumer outside: it asks for the credential before each login, as `twin run` does."""

    def __init__(self, service: Service, environment: str, *names: str) -> None:
        self._path = f"/v1/environments/{environment}/credentials/reveal"
        token = (service.directory / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=10)
        self._names = names
        self._last: dict[str, str] = {}

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def urls(self) -> dict[str, str]:
        """What is current; while the service is away, what was."""
        with suppress(httpx.TransportError):
            shown = self._client.post(self._path, json={"reason": "to knock"})
            if shown.is_success:
                variables = shown.json()["variables"]
                self._last = {name: variables[name] for name in self._names if name in variables}
        return self._last


def killed_and_served(service: Service, process: subprocess.Popen[bytes], after: float) -> subprocess.Popen[bytes]:
    """kill -9 after so many seconds, and another in its place."""
    with pytest.raises(subprocess.TimeoutExpired):  # else it ended by itself
        process.wait(after)
    service.kill(process)
    return service.serve()


def verbs(service: Service, environment: str, event: str) -> set[str]:
    """Of the steps to which this has happened."""
    return {each["data"]["key"]["verb"] for each in service.events(environment, event)}


@pytest.mark.parametrize("component", DOORS)
def test_nobody_is_shut_out_by_a_rotation_with_the_twin_killed_in_the_middle(
    make_service: Start, tmp_path: Path, component: str
) -> None:
    chance = random.Random(f"{SEED}-{component}")
    record = Record(tmp_path / "record.txt")
    service = make_service()
    process = service.serve()
    service.publish(blueprint(tmp_path / "folder", component, tmp_path / "record.txt"))
    created = service.create("dev", f"knocking-{component}")
    service.succeeded(created)
    environment = created["environment_id"]
    variable = DOORS[component][1]
    with Outside(service, environment, variable) as outside:
        old = outside.urls()[variable]
        with Knocker(outside.urls, record):
            opened = lambda: record.counts()[variable, "opened"]  # noqa: E731
            eventually(lambda: opened() > 10, within=60, why=service.last_lines)
            rotated = service.signal(environment, "rotate_credentials", component=component, grace=f"{GRACE}s")
            process = killed_and_served(service, process, chance.uniform(0.05, 0.6))
            eventually(lambda: verbs(service, environment, "step_succeeded") >= {"issue"}, why=service.last_lines)
            both = service.get(f"/v1/environments/{environment}/credentials")["items"]
            service.kill(process)
            assert [(each["version"], each["state"]) for each in both] == [(1, "retiring"), (2, "current")]
            asyncio.run(knock(old))  # who holds the old one has his time, and notices no crash
            process = service.serve()
            assert "retire" not in verbs(service, environment, "step_succeeded"), "the crash was in the middle"
            process = killed_and_served(service, process, chance.uniform(0.05, 1.2))
            service.succeeded(rotated)
            before = opened()
            eventually(lambda: opened() > before + 20, within=60, why=service.last_lines)
        new = outside.urls()[variable]

    assert record.refusals() == [], "whoever used the credential of the day was let in"
    assert new != old
    asyncio.run(knock(new))
    refused = asyncio.run(_refused(old))
    assert verdict(refused) == "refused", f"and the old one opens nothing any more: {refused!r}"
    gone, only = service.get(f"/v1/environments/{environment}/credentials")["items"]
    assert (only["version"], only["state"], only["used_by"]) == (2, "current", ["app"])
    assert (gone["version"], gone["state"], gone["used_by"]) == (1, "retired", [])
    assert gone["issued_at"] < gone["superseded_at"] < gone["retired_at"]
    assert " retired " in service.twin("credentials", environment)
    assert verbs(service, environment, "step_succeeded") >= {"issue", "retire"}
    service.succeeded(service.signal(environment, "destroy"))
    assert not service.environment(environment)["leftovers"]


async def _refused(url: str) -> BaseException | None:
    try:
        await knock(url)
    except Exception as error:
        return error
    return None


def test_a_consumer_outside_says_when_it_has_changed_over(make_service: Start, tmp_path: Path) -> None:
    service = make_service()
    service.serve()
    components = {"cache": {"type": "redis.keyspace", "rotation": {"acknowledge": True}}}
    service.publish(folder(tmp_path / "cached", components, name="cached"))
    created = service.create("dev", "cached")
    service.succeeded(created)
    environment = created["environment_id"]
    with Outside(service, environment, "CACHE_URL") as outside:
        old = outside.urls()["CACHE_URL"]
        rotated = service.signal(environment, "rotate_credentials", component="cache")
        eventually(lambda: outside.urls()["CACHE_URL"] != old, why=service.last_lines)
        asyncio.run(knock(old))
        assert service.operation(rotated, wait=0)["status"] == "running", "it waits for somebody outside"
        assert "in use" in service.twin("credentials", environment)
        path = f"/v1/environments/{environment}/components/cache/credentials/2/ack"
        acknowledged: Json = service.post(path, None)
        service.succeeded(acknowledged)
        service.succeeded(rotated)
        assert verdict(asyncio.run(_refused(old))) == "refused"
        asyncio.run(knock(outside.urls()["CACHE_URL"]))

"""A burst of deliveries, with `kill -9` of the service in its middle: what was answered is done, once; none is lost."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable

import httpx
import pytest

from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

SECRET = "a secret of sixteen letters and more"
DELIVERIES, PULLS = 200, 50
AT_ONCE = 20
KILL_AFTER = 70
FORGE = "http://127.0.0.1:9"
"""Nobody is there: hints need nobody."""


@pytest.fixture(params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, make_service: Start) -> Service:
    settings: dict[str, object] = {"lease": "2s"}
    if request.param == "postgres":
        settings["database_url"] = request.getfixturevalue("database")
    made = make_service(**settings)
    if request.param == "postgres":
        made.twin("db", "upgrade")
    return made


class Sender:
    """A forge that delivers a burst, and knows what was answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answered: dict[str, bool] = {}
        self.seconds: list[float] = []
        self.enough = asyncio.Event()

    async def send(self, names: list[str]) -> None:
        """Each once, some at a time; who gets no answer does not try again."""
        room = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(base_url=self._service.url, trust_env=False, timeout=60) as http:

            async def one(name: str) -> None:
                async with room:
                    await self._one(http, name)

            await asyncio.gather(*(one(name) for name in names))

    async def _one(self, http: httpx.AsyncClient, name: str) -> None:
        body = json.dumps(payload(int(name.partition("-")[2]))).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Gitea-Delivery": name,
            "X-Gitea-Event": "pull_request",
            "X-Gitea-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        }
        began = time.monotonic()
        try:
            answer = await http.post("/webhooks/gitea/main", content=body, headers=headers)
        except httpx.TransportError:
            return
        assert answer.status_code == 202, answer.text
        self.seconds.append(time.monotonic() - began)
        self.answered[name] = answer.json()["new"]
        if len(self.answered) >= KILL_AFTER:
            self.enough.set()


def payload(number: int) -> Json:
    home = {"full_name": "ada/shop", "html_url": f"{FORGE}/ada/shop"}
    pull = number % PULLS + 1
    return {
        "action": "synchronized",
        "number": pull,
        "pull_request": {"html_url": f"{FORGE}/ada/shop/pulls/{pull}", "base": {"repo": home}, "filler": "x" * 8000},
        "repository": home,
    }


async def test_a_burst_with_a_kill_in_its_middle_loses_nothing(service: Service, tell: Callable[[str], None]) -> None:
    process = service.serve()
    credentials = {"token": "t0ken", "webhook_secret": SECRET}
    service.post(
        "/v1/targets",
        {"name": "gitea/main", "provider": "gitea", "config": {"url": FORGE}, "credentials": credentials},
    )
    names = [f"guid-{number}" for number in range(DELIVERIES)]
    random.Random(6).shuffle(names)

    sender = Sender(service)
    burst = asyncio.create_task(sender.send(names))
    await sender.enough.wait()
    await asyncio.to_thread(service.kill, process)
    await burst
    before = dict(sender.answered)
    assert KILL_AFTER <= len(before) < DELIVERIES, "it was in the middle"
    assert all(before.values())

    await asyncio.to_thread(service.serve)
    await sender.send(names)  # a human has the forge deliver all again
    assert len(sender.answered) == DELIVERIES
    assert not any(sender.answered[name] for name in before), "what was answered is known"

    handled = await asyncio.to_thread(
        eventually, lambda: len(found := events(service, "delivery_handled")) >= DELIVERIES and found, within=120
    )
    taken = events(service, "delivery_taken")
    for found in (taken, handled):
        assert sorted(each["data"]["delivery"] for each in found) == sorted(names), "each, once"
        assert all(each["request_id"] == each["data"]["delivery"] for each in found)
    assert sorted(each["data"]["number"] for each in taken) == list(range(1, DELIVERIES + 1))
    assert {each["data"]["outcome"] for each in handled} == {"ignored"}, "no preview source names the repository"
    assert (await asyncio.to_thread(service.verify))["findings"] == []
    seconds = sorted(sender.seconds)
    p50, p99 = (1000 * seconds[int(len(seconds) * part)] for part in (0.5, 0.99))
    tell(f"answers to {AT_ONCE} webhooks at a time, on a loaded machine: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def events(service: Service, kind: str) -> list[Json]:
    found: list[Json] = service.get("/v1/audit", type=kind, limit=1000)["items"]
    return found

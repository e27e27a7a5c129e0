"""A burst of deliveries of fifty pull requests, with `kill -9` of the service in its middle.

What was answered is done, once. What was not is gone, for no forge delivers it again by itself: reconciliation finds
what it would have told. In the end each pull request has the preview that it should have, or none.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.acceptance.shelf import standing
from tests.api.webhooks.hooks import from_github, pull_request
from tests.providers.github_pulls import changed, close, comments_on, open_pull, push, status_of
from tests.providers.github_server import GitHub
from tests.waiting import soon

SECRET = "a secret of sixteen letters and more"
REPOSITORY, US = "acme/shop", "twin-bot"
PULLS, AT_ONCE = 50, 20
OVER = ("Preview: destroyed", "Preview: closed")
KILL_AFTER = 70
WHILE_AWAY = 120
"""So many deliveries are sent until the service is started again: those of them that nobody answers are lost."""


class Happening(Struct, frozen=True):
    """One thing that happens at the forge to one pull request, and the delivery that tells of it."""

    pull: int
    action: str

    @property
    def guid(self) -> str:
        return f"{self.action}-{self.pull}"


def happenings() -> list[Happening]:
    """Four of each pull request in their order, and all of them mixed. Every third is closed in the end."""
    turns = [number for number in range(1, PULLS + 1) for _ in range(4)]
    random.Random(6).shuffle(turns)
    courses = {
        number: iter(("opened", "synchronize", "labeled", "edited" if number % 3 else "closed"))
        for number in range(1, PULLS + 1)
    }
    return [Happening(number, next(courses[number])) for number in turns]


class Forge:
    """A GitHub where things happen, and which tells a twin of each of them, once."""

    def __init__(self, github: GitHub, service: Service) -> None:
        self.github = github
        self.repository = github.add(REPOSITORY, readers=("*",))
        self._service = service
        self.answered: dict[str, bool] = {}
        self.seconds: list[float] = []
        self.when_enough: Callable[[], None] | None = None

    async def send(self, deliveries: list[Happening], *, again: bool = False) -> None:
        """Let them happen and deliver them, some at a time. Who gets no answer does not try again."""
        left = iter(deliveries)
        async with httpx.AsyncClient(base_url=self._service.url, trust_env=False, timeout=60) as http:

            async def client() -> None:
                for each in left:
                    if not again:
                        self._happen(each)
                    await self._deliver(http, each)

            await asyncio.gather(*(client() for _ in range(AT_ONCE)))

    def _happen(self, each: Happening) -> None:
        match each.action:
            case "opened":
                open_pull(self.repository, each.pull)
            case "synchronize":
                push(self.repository, each.pull, {"new.txt": "newer"})
            case "closed":
                close(self.repository, each.pull)
            case _:
                changed(self.repository, each.pull)["title"] = each.action

    async def _deliver(self, http: httpx.AsyncClient, each: Happening) -> None:
        host = self.github.url.partition("://")[2]
        home = self.repository["id"]
        payload = pull_request(each.pull, REPOSITORY, host, home, action=each.action, filler="x" * 8000)
        body = json.dumps(payload).encode()
        began = time.monotonic()
        try:
            headers = from_github(body, guid=each.guid, secret=SECRET)
            answer = await http.post("/webhooks/github/main", content=body, headers=headers)
        except httpx.TransportError:
            return
        assert answer.status_code == 202, answer.text
        self.seconds.append(time.monotonic() - began)
        self.answered[each.guid] = answer.json()["new"]
        if len(self.answered) == KILL_AFTER and self.when_enough is not None:
            self.when_enough()

    def wanted(self) -> dict[str, str]:
        """The commit that each open pull request's environment should have."""
        pulls = self.repository["pulls"].values()
        return {f"pr-{each['number']}": each["sha"] for each in pulls if each["state"] == "open"}

    def announced(self) -> bool:
        """Whether every pull request has one comment and a status, and both say how it is."""
        for number, pull in self.repository["pulls"].items():
            said, status = comments_on(self.repository, number, US), status_of(self.repository, pull["sha"])
            assert len(said) <= 1, f"{number} has {len(said)} comments"
            if pull["state"] == "open":
                done = bool(said) and "Preview: ready" in said[0] and status[0] == "success"
            else:  # of one that was closed before anybody had asked for it, nothing need be said
                done = status[0] != "pending" and (not said or any(word in said[0] for word in OVER))
            if not done:
                return False
        return True


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    async with GitHub() as github:
        yield github


@pytest.fixture(params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, make_service: Start) -> Service:
    settings: dict[str, object] = {"lease": "2s", "program": (sys.executable, "-m", "tests.acceptance.shelf")}
    if request.param == "postgres":
        settings["database_url"] = request.getfixturevalue("database")
    made = make_service(**settings)
    if request.param == "postgres":
        made.twin("db", "upgrade")
    return made


async def test_a_burst_with_a_kill_in_its_middle_loses_nothing(
    service: Service, github: GitHub, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    forge, shelf = Forge(github, service), tmp_path / "shelf"
    process = await asyncio.to_thread(service.serve)
    await asyncio.to_thread(configure, service, github, shelf, tmp_path / "page")
    burst = happenings()

    forge.when_enough = process.kill  # at once, while others wait for their answers
    await forge.send(burst[:WHILE_AWAY])
    await asyncio.to_thread(service.kill, process)
    before = dict(forge.answered)
    lost = {each.guid for each in burst[:WHILE_AWAY]} - before.keys()
    assert len(before) >= KILL_AFTER
    assert lost, "it was in the middle"
    assert all(before.values())

    await asyncio.to_thread(service.serve)
    await forge.send(burst[WHILE_AWAY:])
    assert len(forge.answered) == len(burst) - len(lost)
    assert all(forge.answered.values())
    known = [each for each in burst if each.guid in before][:AT_ONCE]
    await forge.send(known, again=True)  # a human has the forge deliver them again
    assert not any(forge.answered[each.guid] for each in known), "what was answered is known"

    answered, sent = forge.answered.keys(), {each.guid for each in burst}
    taken = await handled(service, answered)
    assert answered <= taken.keys() <= sent, "nothing that was answered is lost"
    assert taken.keys() - answered <= lost, "and nobody else's came in"

    # Before the next time that it is due, which comes once a minute at most.
    await asyncio.to_thread(reconcile, service)
    wanted = forge.wanted()
    assert len(wanted) == PULLS - PULLS // 3

    async def settled() -> bool:
        return standing(shelf) == wanted and forge.announced() and await asyncio.to_thread(at_rest, service, wanted)

    await soon(settled, within=120, why=lambda: (standing(shelf).items() ^ wanted.items(), service.last_lines()))
    assert (await asyncio.to_thread(service.verify))["findings"] == []

    seconds = sorted(forge.seconds)
    p50, p99 = (1000 * seconds[int(len(seconds) * part)] for part in (0.5, 0.99))
    told = f"{len(lost)} of {len(burst)} were not answered; answers to {AT_ONCE} at a time"
    tell(f"{told}, on a loaded machine: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def configure(service: Service, github: GitHub, shelf: Path, page: Path) -> None:
    """The forge, a place for previews, what they are made of, and their source."""
    credentials = {"token": github.token(US), "webhook_secret": SECRET}
    config = {"url": github.url, "api_url": github.url}
    service.post(
        "/v1/targets", {"name": "github/main", "provider": "github", "config": config, "credentials": credentials}
    )
    place = {"name": "shelf/main", "provider": "shelf", "config": {"directory": str(shelf)}, "concurrency": PULLS}
    service.post("/v1/targets", place)
    service.publish(folder(page, {"app": {"type": "shelf.app"}}, name="page"))
    reconcile(service, max_live=PULLS)


def reconcile(service: Service, max_live: int = PULLS + 1) -> None:
    """Configure the source, and differently: then it is reconciled at once."""
    source = {"forge": "github/main", "repository": REPOSITORY, "project": "shop", "blueprint": "page"}
    made = service.api.put("/v1/preview-sources/page", json={**source, "max_live": max_live})
    assert made.is_success, made.text


async def handled(service: Service, answered: set[str]) -> Counter[str]:
    """All that was taken, once it is handled: each once."""

    async def done() -> Counter[str]:
        taken, ended = [await asyncio.to_thread(events, service, f"delivery_{what}") for what in ("taken", "handled")]
        if {each["data"]["delivery"] for each in ended} < {each["data"]["delivery"] for each in taken}:
            return Counter()
        for found in (taken, ended):
            assert all(each["request_id"] == each["data"]["delivery"] for each in found)
        assert [each["data"]["number"] for each in taken] == list(range(1, len(taken) + 1))
        assert {each["data"]["outcome"] for each in ended} == {"given"}
        counted = Counter(each["data"]["delivery"] for each in ended)
        assert set(counted.values()) == {1}
        return counted

    return await soon(done, within=60, why=service.last_lines)


def events(service: Service, kind: str) -> list[Json]:
    """Of a type, the oldest first."""
    found: list[Json] = service.get("/v1/audit", type=kind, limit=1000)["items"]
    return sorted(found, key=lambda each: each["data"]["number"])


def at_rest(service: Service, wanted: dict[str, str]) -> bool:
    """Whether each open pull request has a slot and an environment that is ready, and no other has either."""
    found = service.get("/v1/projects/shop/environments", limit=200)["items"]
    (source,) = service.get("/v1/preview-sources")["items"]
    assert source["problems"] == []
    ready = {each["name"]: each["status"] for each in found} == dict.fromkeys(wanted, "ready")
    return ready and len(source["live"]) == len(wanted) and not source["waiting"]

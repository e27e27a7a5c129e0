"""A preview for every pull request, with a real Gitea: opened, pushed to, commanded, closed while it is updated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.leaks import Needles, files_below, read
from tests.acceptance.service import Json, Service
from tests.acceptance.visitors import Visitors
from tests.providers.gitea_world import Gitea, Repository
from tests.waiting import eventually

SECRET = "at least sixteen letters"
PAGE = """
import os
import pathlib
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        said = pathlib.Path(__file__).with_name("page.txt").read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments):
        pass


server = Server(("127.0.0.1", int(os.environ["PORT"])), Page)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
"""


class Scene:
    """A service that knows the Gitea, and a repository whose pull requests it has previews of."""

    def __init__(self, service: Service, gitea: Gitea, repository: Repository, credentials: dict[str, str]) -> None:
        self.service = service
        self.credentials = credentials
        self.gitea = gitea
        self.repository = repository

    def page(self, name: str) -> str | None:
        """What the preview's page says; None while there is none."""
        view = self.environment(name)
        if view is None or view["url"] is None:
            return None
        return self.opened(view["url"])

    @staticmethod
    def opened(url: str) -> str | None:
        """What is behind a link; None if nothing answers. Names below `localhost` are loopback, which not every
        system's resolver knows."""
        link = httpx.URL(url)
        try:
            answer = httpx.get(
                link.copy_with(host="127.0.0.1"), headers={"Host": link.netloc.decode()}, trust_env=False
            )
        except httpx.TransportError:
            return None
        return answer.text if answer.is_success else None

    def environment(self, name: str) -> Json | None:
        """The newest environment of a name."""
        found = self.service.api.get(f"/v1/projects/shop/environments/{name}")
        return found.json() if found.is_success else None

    def comment(self, number: int) -> str:
        """The one that the twin wrote."""
        written = [each["body"] for each in self.repository.comments(number) if "twin:pr:" in each["body"]]
        assert len(written) <= 1, "one comment, whatever happens"
        return str(written[0]) if written else ""

    def status(self, sha: str) -> tuple[str, str]:
        """Of a commit, and what is said of it."""
        found = [each for each in self.repository.statuses(sha) if each["context"] == "twin/preview"]
        return (str(found[0]["status"]), str(found[0]["description"])) if found else ("", "")

    def why(self) -> str:
        return self.service.last_lines()


@pytest.fixture
def scene(make_service: Start, gitea: Gitea, tmp_path: Path) -> Iterator[Scene]:
    service = make_service()
    service.serve()
    bot, owner = gitea.add("twin-bot"), gitea.add("ada")
    repository = gitea.repository(owner, f"page-{tmp_path.name.replace('_', '-')[-20:]}", private=True)
    repository.let_in(bot, "admin")
    repository.commit("main", {"app.py": PAGE, "page.txt": "main"})
    token = gitea.token("twin-bot", "read:user", "write:repository", "write:issue")
    target = {
        "name": "gitea/main",
        "provider": "gitea",
        "config": {"url": gitea.url},
        "credentials": {"token": token, "webhook_secret": SECRET},
    }
    service.post("/v1/targets", target)
    (processes,) = (each for each in service.get("/v1/targets")["items"] if each["name"] == "process/local")
    reading = gitea.token(bot.login, "read:repository")  # the repository is private
    fetching = {"name": "process/local", "provider": "process", "config": processes["config"]}
    service.post("/v1/targets", {**fetching, "credentials": {f"{gitea.url}/{owner.login}": reading}})
    components: Json = {
        "app": {"type": "process.service", "inputs": {"command": ["python", "-I", "-S", "app.py"], "stop_grace": 20}},
        "web": {"type": "caddy.route", "inputs": {"host": "${env.name}--page", "to": "${app.outputs.urls}"}},
    }
    service.publish(folder(tmp_path / "page", components, name="page"))
    source = {"forge": "gitea/main", "repository": repository.full_name, "project": "shop", "blueprint": "page"}
    made = service.api.put("/v1/preview-sources/page", json=source)
    assert made.is_success, made.text
    events = ("pull_request", "pull_request_sync", "pull_request_comment", "issue_comment")
    repository.webhook(f"{service.url}/webhooks/gitea/main", SECRET, *events)
    yield Scene(service, gitea, repository, {"the forge's": token, "git's": reading})
    repository.remove()


def test_a_pull_request_has_a_preview_until_it_is_closed(scene: Scene) -> None:
    repository, service = scene.repository, scene.service
    first = repository.commit("feature", {"page.txt": "first"})
    number = repository.pull("feature", title="<b>A change</b>")
    name = f"pr-{number}"
    eventually(lambda: scene.page(name) == "first", within=90, why=scene.why)
    eventually(lambda: scene.status(first)[0] == "success", within=30, why=scene.why)
    eventually(lambda: "Preview: ready" in scene.comment(number), within=30, why=lambda: scene.comment(number))
    view = scene.environment(name)
    assert view is not None
    service.environments.append(view["id"])
    link = re.search(r"\((http://[^)]+)\)", scene.comment(number))
    assert link is not None
    url = httpx.URL(link[1])
    assert url.host == f"{name}--page.localhost", "a name that stays"
    assert scene.opened(link[1]) == "first", "a link that works"

    with Visitors(f"http://127.0.0.1:{url.port}", url.host) as visitors:
        visitors.sees("first")
        second = repository.commit("feature", {"page.txt": "second"})
        visitors.sees("second")
        eventually(lambda: scene.status(second)[0] == "success", within=60, why=scene.why)
    assert visitors.failures == [], "nobody who looked meanwhile was turned away"

    repository.comment(number, "/twin extend 3d")
    eventually(lambda: "To ada, who asked" in scene.comment(number), within=30, why=lambda: scene.comment(number))

    third = repository.commit("feature", {"page.txt": "third"})
    eventually(lambda: scene.status(third)[0] != "", within=60, why=scene.why)
    repository.edit(number, state="closed")  # while that is being deployed
    eventually(lambda: (scene.environment(name) or {}).get("status") == "destroyed", within=90, why=scene.why)
    gone = scene.environment(name)
    assert gone is not None
    assert gone["id"] == view["id"], "one environment was all"
    assert gone["certificate"] is not None
    eventually(lambda: "Preview: destroyed" in scene.comment(number), within=30, why=lambda: scene.comment(number))
    assert "Proven gone" in scene.comment(number)
    eventually(lambda: "destroyed" in scene.status(third)[1], within=30, why=lambda: scene.status(third))
    (source,) = service.get("/v1/preview-sources")["items"]
    assert (source["live"], source["waiting"], source["problems"]) == ([], [], [])

    needles = Needles()
    needles.add(scene.credentials)
    places = files_below(service.directory, service.log.parent)
    assert {str(path): found for path in places if (found := needles.within(read(path)))} == {}

    told = json.loads(service.twin("audit", "--pr", str(number), "--format", "json"))
    assert told == json.loads(
        service.twin("audit", "--pr", f"{repository.full_name}#{number}", "--source", "page", "--output", "json")
    )
    types = {(each["environment"].partition("_")[0], each["type"]) for each in told}
    expected = {("inbox", "delivery_taken"), ("inbox", "delivery_handled"), ("pr", "command_taken")}
    expected |= {("pr", "preview_published"), ("src", "slot_taken"), ("env", "created"), ("env", "destroyed")}
    assert types >= expected
    assert "certificate" in next(each["data"] for each in told if each["type"] == "destroyed")
    assert str(number + 1) in service.ends(3, "audit", "--pr", str(number + 1))

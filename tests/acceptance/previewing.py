"""What a preview goes through from the opening of its pull request to its closing, whatever forge that is on."""

from __future__ import annotations

import json
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from tests.acceptance.blueprints import folder
from tests.acceptance.leaks import Needles, files_below, read
from tests.acceptance.service import Json, Service
from tests.acceptance.visitors import Visitors
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
"""An app that answers with the file beside it."""

NEVER_READY = """
import threading

threading.Event().wait()
"""
"""One that never answers anything: whatever brings it up is in the middle of it until somebody ends that."""


class Scene(ABC):
    """A service that knows a forge, and a repository there whose pull requests it has previews of."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.label = f"page-{uuid.uuid4().hex[:8]}"
        """In the links, which all scenes have on one server."""

    # what people do

    @abstractmethod
    def pull(self, files: Mapping[str, str], *, title: str = "A change") -> tuple[int, str]:
        """Open a pull request with these files: its number, its commit."""

    @abstractmethod
    def push(self, number: int, files: Mapping[str, str]) -> str:
        """One more commit of it."""

    @abstractmethod
    def say(self, number: int, text: str) -> None:
        """The owner comments on it."""

    @abstractmethod
    def close(self, number: int) -> None:
        """Close it."""

    # what the twin says

    @abstractmethod
    def comments(self, number: int) -> list[str]:
        """The bodies of all comments."""

    @abstractmethod
    def status(self, sha: str) -> tuple[str, str]:
        """The twin's status of a commit, and what is said of it; of none both are empty."""

    def comment(self, number: int) -> str:
        """The one that the twin wrote."""
        written = [each for each in self.comments(number) if "twin:pr:" in each]
        assert len(written) <= 1, "one comment, whatever happens"
        return written[0] if written else ""

    # what is there

    def publish(self, path: Path, **more: Any) -> None:
        """A blueprint of the page, behind a link that stays; `more`: further parts of it."""
        command = ["python", "-I", "-S", "app.py"]
        inputs = {"command": command, "stop_grace": 20, "health": {"deadline": 15}}
        app = {"type": "process.service", "inputs": inputs}
        web = {"type": "caddy.route", "inputs": {"host": f"${{env.name}}--{self.label}", "to": "${app.outputs.urls}"}}
        self.service.publish(folder(path, {"app": app, "web": web}, name="page", **more))

    def follow(self, forge: str, repository: str, **more: Any) -> None:
        """Have previews of the repository's pull requests."""
        source = {"forge": forge, "repository": repository, "project": "shop", "blueprint": "page", **more}
        made = self.service.api.put("/v1/preview-sources/page", json=source)
        assert made.is_success, made.text

    def environment(self, number: int) -> Json | None:
        """The newest environment of a pull request."""
        found = self.service.api.get(f"/v1/projects/shop/environments/pr-{number}")
        return found.json() if found.is_success else None

    def page(self, number: int) -> str | None:
        """What the preview's page says; None while there is none."""
        view = self.environment(number)
        return self.opened(view["url"]) if view is not None and view["url"] is not None else None

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

    def why(self) -> str:
        return self.service.last_lines()

    # what is waited for

    def lives(self, number: int, sha: str, said: str) -> Json:
        """Until the page shows what the commit says, and the forge is told so; the environment then."""
        eventually(lambda: self.page(number) == said, within=120, why=self.why)
        eventually(lambda: self.status(sha)[0] == "success", within=60, why=self.why)
        eventually(lambda: self.is_said_ready(number, sha), within=60, why=lambda: self.comment(number))
        view = self.environment(number)
        assert view is not None
        if view["id"] not in self.service.environments:
            self.service.environments.append(view["id"])
        return view

    def is_said_ready(self, number: int, sha: str) -> bool:
        """Whether the comment says so of this commit."""
        said = self.comment(number)
        return "Preview: ready" in said and sha[:12] in said

    def ends(self, number: int, sha: str) -> Json:
        """Until it is proven gone, and the forge is told so; the environment then."""

        def destroyed() -> bool:
            return (self.environment(number) or {}).get("status") == "destroyed"

        eventually(destroyed, within=120, why=self.why)
        eventually(lambda: "Preview: destroyed" in self.comment(number), within=60, why=lambda: self.comment(number))
        eventually(lambda: "destroyed" in self.status(sha)[1], within=60, why=lambda: self.status(sha))
        gone = self.environment(number)
        assert gone is not None
        assert gone["certificate"] is not None
        assert "Proven gone" in self.comment(number)
        return gone

    def is_told(self, number: int, repository: str) -> None:
        """All that came of it is found by its number, and nothing of another one."""
        told = json.loads(self.service.twin("audit", "--pr", str(number), "--format", "json"))
        place = f"{repository}#{number}"
        assert told == json.loads(self.service.twin("audit", "--pr", place, "--source", "page", "--output", "json"))
        types = {(each["environment"].partition("_")[0], each["type"]) for each in told}
        expected = {("inbox", "delivery_taken"), ("inbox", "delivery_handled"), ("pr", "command_taken")}
        expected |= {("pr", "preview_published"), ("src", "slot_taken"), ("env", "created"), ("env", "destroyed")}
        assert types >= expected
        assert "certificate" in next(each["data"] for each in told if each["type"] == "destroyed")
        assert str(number + 1) in self.service.ends(3, "audit", "--pr", str(number + 1))

    def keeps_secret(self, credentials: Mapping[str, str]) -> None:
        """No file of the service, nor what it wrote, holds one of these."""
        needles = Needles()
        needles.add(credentials)
        places = files_below(self.service.directory, self.service.log.parent)
        assert {str(path): found for path in places if (found := needles.within(read(path)))} == {}

    def has_no_debts(self) -> None:
        """Nothing lives, waits or went wrong."""
        (source,) = self.service.get("/v1/preview-sources")["items"]
        assert (source["live"], source["waiting"], source["problems"]) == ([], [], [])


class Life(Struct, frozen=True, kw_only=True):
    """A pull request that was, its commits and its environment."""

    number: int
    first: str
    second: str
    third: str
    environment: str


def live_a_life(scene: Scene) -> Life:
    """Opened, pushed to, commanded, closed while it is updated."""
    number, first = scene.pull({"page.txt": "first"}, title="<b>A change</b>")
    view = scene.lives(number, first, "first")
    link = re.search(r"\((http://[^)]+)\)", scene.comment(number))
    assert link is not None
    url = httpx.URL(link[1])
    assert url.host == f"pr-{number}--{scene.label}.localhost", "a name that stays"
    assert scene.opened(link[1]) == "first", "a link that works"

    with Visitors(f"http://127.0.0.1:{url.port}", url.host) as visitors:
        visitors.sees("first")
        second = scene.push(number, {"page.txt": "second"})
        visitors.sees("second")
        scene.lives(number, second, "second")
    assert visitors.failures == [], "nobody who looked meanwhile was turned away"

    scene.say(number, "/twin extend 3d")
    eventually(lambda: "To ada, who asked" in scene.comment(number), within=60, why=lambda: scene.comment(number))

    third = scene.push(number, {"page.txt": "third", "app.py": NEVER_READY})
    eventually(lambda: scene.status(third)[0] == "pending", within=60, why=scene.why)
    eventually(lambda: (scene.environment(number) or {}).get("status") == "updating", within=60, why=scene.why)
    assert scene.page(number) == "second"
    scene.close(number)
    gone = scene.ends(number, third)
    assert gone["id"] == view["id"], "one environment was all"
    scene.has_no_debts()
    return Life(number=number, first=first, second=second, third=third, environment=gone["id"])

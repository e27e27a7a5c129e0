"""A whole GitHub on the loopback, in a thread of its own: API, git and webhooks, and people who use it.

The API is where a GitHub Enterprise Server has it, on the host of the pages: a target needs no more than the `url`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from githubkit_schemas.latest import models
from msgspec import Struct

from tests.providers import github_pulls
from tests.providers.github_answers import ELSEWHERE, grown, told_comment
from tests.providers.github_git import Repositories
from tests.providers.github_server import APP_ID, INSTALLATION_ID, Exchange, GitHub, Json
from twin.testing.meddling import Rule

T = TypeVar("T")

HOOK_ID = 292430182


class Delivery(Struct, frozen=True, kw_only=True):
    """What a webhook was sent, and what it answered."""

    id: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: str


class Hub:
    """The server and its people, for tests that are no coroutines: every change is made in the server's own thread."""

    def __init__(self, github: GitHub, loop: asyncio.AbstractEventLoop, repositories: Repositories) -> None:
        self.github = github
        self._loop = loop
        self._repositories = repositories
        self._hooks: list[tuple[str, str]] = []
        self.deliveries: list[Delivery] = []

    @property
    def url(self) -> str:
        return self.github.url

    def do(self, act: Callable[[], T]) -> T:
        """Have it done where the server is, between two requests."""

        async def done() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(60)

    def repository(self, full_name: str, **people: str) -> HubRepository:
        """A public repository, and the permissions of some people."""
        self._repositories.add(full_name)
        made = self.do(lambda: self.github.add(full_name, readers=("*",)))
        made["people"] = people
        return HubRepository(self, self._repositories, made)

    def rule(self, rule: Rule) -> None:
        """What is answered instead from now on."""
        self.do(lambda: setattr(self.github, "rule", rule))

    def hook(self, url: str, secret: str) -> None:
        """Have what happens from now on sent there."""
        self._hooks.append((url, secret))

    def deliver(self, event: str, payload: Json) -> list[Delivery]:
        """Tell every hook."""
        body = json.dumps(self.addressed(payload)).encode()
        return [self.send(url, signed(event, body, secret), body) for url, secret in self._hooks]

    def addressed(self, payload: Json) -> Json:
        """The same with the addresses that this GitHub gives."""
        told: Json = json.loads(json.dumps(payload).replace(ELSEWHERE, self.github.elsewhere))
        return told

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Delivery:
        """One delivery."""
        answer = httpx.post(url, headers=dict(headers), content=body, timeout=60, trust_env=False)
        sent = Delivery(
            id=headers["X-GitHub-Delivery"],
            headers=dict(headers),
            body=body,
            status=answer.status_code,
            answer=answer.text,
        )
        self.deliveries.append(sent)
        return sent

    # what was sent to the server

    def mark(self) -> int:
        """How long the record is now."""
        return len(self.github.record)

    def sent(self, method: str = "", path: str = "", *, since: int = 0) -> list[Exchange]:
        """See `GitHub.sent`."""
        return self.do(lambda: self.github.sent(method, path, since=since))

    def writes(self, *, since: int = 0) -> list[str]:
        """What was said to people, as `POST /repos/…`."""
        return [f"{each.call.method} {each.path}" for each in self.sent(since=since) if each.is_write]


class HubRepository:
    """A repository, as its people use it."""

    def __init__(self, hub: Hub, repositories: Repositories, it: Json) -> None:
        self._hub = hub
        self._git = repositories
        self.it = it
        self._files: dict[str, dict[str, bytes]] = {}

    @property
    def full_name(self) -> str:
        return str(self.it["full_name"])

    @property
    def path(self) -> str:
        """Of the API."""
        return f"/repos/{self.full_name}"

    def fork(self, owner: str) -> HubRepository:
        """Somebody's fork."""
        name = f"{owner}/{self.full_name.partition('/')[2]}"
        self._git.add(name, fork_of=self.full_name)
        made = self._hub.do(lambda: self._hub.github.add(name, readers=("*",)))
        fork = HubRepository(self._hub, self._git, made)
        fork._files = {"main": dict(self._files["main"])}
        return fork

    def commit(self, branch: str, files: Mapping[str, str]) -> str:
        """One more commit of a branch, of which nobody is told; its id."""
        sha = self._git.commit(self.full_name, branch, files)
        known = self._files.get(branch, self._files.get("main", {}))
        self._files[branch] = {**known, **{name: text.encode() for name, text in files.items()}}
        self._hub.do(lambda: self.it["commits"].update({sha: self._files[branch]}))
        return sha

    def pull(
        self, branch: str, sha: str, *, head: HubRepository | None = None, author: str = "ada", title: str = "A change"
    ) -> int:
        """Open a pull request of a branch's commit."""
        origin = head or self
        number = len(self.it["pulls"]) + 1

        def open_() -> None:
            github_pulls.add_pull(self.it, number, branch, title=title, author=author, head=origin.full_name)
            self._move(number, origin, sha)

        self._hub.do(open_)
        self.tell(number, "opened")
        return number

    def push(self, number: int, files: Mapping[str, str], *, head: HubRepository | None = None) -> str:
        """One more commit of a pull request; its id."""
        pull, origin = self.it["pulls"][number], head or self
        before = pull["sha"]
        sha = origin.commit(pull["branch"], files)
        self._hub.do(lambda: self._move(number, origin, sha))
        self.tell(number, "synchronize", before=before, after=sha)
        return sha

    def _move(self, number: int, origin: HubRepository, sha: str) -> None:
        files, main = origin.it["commits"][sha], self._files.get("main", {})
        changes = {name: data for name, data in files.items() if main.get(name) != data}
        github_pulls.move(self.it, number, sha, changes, files)

    def close(self, number: int, *, merge: bool = False) -> None:
        """Close or merge it."""
        self._hub.do(lambda: github_pulls.close(self.it, number, merge=merge))
        self.tell(number, "closed")

    def comment(self, number: int, body: str, *, author: str = "ada") -> None:
        """Comment on it."""
        written = self._hub.do(lambda: self._hub.github.comment(self.it, number, author, body))
        self._hub.deliver("issue_comment", self.comment_payload(number, written))

    def comment_payload(self, number: int, written: Json) -> Json:
        """What GitHub delivers of a new comment."""
        pull = self.it["pulls"][number]
        page = f"{self._hub.url}/{self.full_name}/pull/{number}"
        return {
            "action": "created",
            "issue": {
                "number": number,
                "title": pull["title"],
                "html_url": page,
                "url": f"{ELSEWHERE}/issues/{number}",
                "pull_request": {"html_url": page, "url": f"{ELSEWHERE}/pulls/{number}"},
            },
            "comment": told_comment(written),
            **self._besides(written["author"]),
        }

    def tell(self, number: int, action: str, **more: Any) -> list[Delivery]:
        """Have the hooks told that something happened to a pull request."""
        return self._hub.deliver("pull_request", self.payload(number, action, **more))

    def payload(self, number: int, action: str, **more: Any) -> Json:
        """What GitHub delivers of a pull request."""
        pull = self.it["pulls"][number]
        told = self._hub.do(lambda: self._hub.github.told(models.PullRequest, self.it, pull))
        payload = {"action": action, "number": number, "pull_request": told, **self._besides(pull["author"]), **more}
        return self._hub.addressed(payload)

    def _besides(self, sender: str) -> Json:
        return {
            "repository": self._hub.do(lambda: self._hub.github.told_repository(self.it)),
            "sender": grown(models.SimpleUser, login=sender),
            "installation": {"id": INSTALLATION_ID, "node_id": "x"},
        }

    # what the twin said

    def comments(self, number: int) -> list[str]:
        """Bodies of all comments, oldest first."""
        return self._hub.do(lambda: [str(each["body"]) for each in self.it["pulls"][number]["comments"]])

    def statuses(self, sha: str) -> list[Json]:
        """All that was said of a commit, latest first."""
        return self._hub.do(lambda: [dict(each) for each in self.it["statuses"][::-1] if each["sha"] == sha])

    def deployments(self, sha: str) -> list[Json]:
        """All deployments of a commit; `said` is oldest first."""
        return self._hub.do(
            lambda: [
                {**each, "said": list(each["said"])} for each in self.it["deployments"].values() if each["sha"] == sha
            ]
        )


def signed(event: str, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a delivery."""

    def by(algorithm: str) -> str:
        return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"

    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(HOOK_ID),
        "X-GitHub-Hook-Installation-Target-ID": str(APP_ID),
        "X-GitHub-Hook-Installation-Target-Type": "integration",
        "X-Hub-Signature": by("sha1"),
        "X-Hub-Signature-256": by("sha256"),
    }


async def _all_others() -> None:
    """End what is still under way."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)


@contextmanager
def running(directory: Path) -> Iterator[Hub]:
    """A GitHub until the end. What went wrong in it is raised then."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="github")
    thread.start()
    repositories, github = Repositories(directory), GitHub()
    github.git = repositories.answer

    def wait(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    try:
        wait(github.__aenter__())
        github.web = github.url
        try:
            yield Hub(github, loop, repositories)
        finally:
            wait(github.__aexit__(None, None, None))
            wait(_all_others())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

"""A forge in memory: pull requests as people change them, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from twin.domain.digest import digest
from twin.domain.errors import Blocked
from twin.domain.pulls import Permission, Pull, Repository
from twin.domain.targets import Target
from twin.ports.forge import Comment, Forge, Listing, Report

REPOSITORY = "acme/guestbook"
START = datetime(2026, 1, 1, tzinfo=UTC)


class ModelForge:
    """See `twin.ports.forge.Forge`. `failing`: what the next calls raise, by their name; `losing`: what they raise
    after they have done it. `threads`: the comments below each pull request; `reports` and `deployed`: what was said of
    a commit last, by its context or environment. `written`: what people wrote, by number and id."""

    def __init__(self) -> None:
        self.pulls: dict[int, Pull] = {}
        self.paths: tuple[str, ...] = ("app.py",)
        self.files: dict[str, bytes] = {}
        self.threads: dict[int, list[str]] = {}
        self.reports: dict[tuple[str, str], Report] = {}
        self.deployed: dict[tuple[str, str], Report] = {}
        self.written: dict[tuple[int, int], Comment] = {}
        self.failing: dict[str, list[Exception]] = {}
        self.losing: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.home = Repository(id=7, name=REPOSITORY)
        self.names = {REPOSITORY}
        self._changes = 0

    # -- what is shown, where there is one source

    @property
    def comments(self) -> dict[int, str]:
        """The one comment below each pull request."""
        assert all(len(thread) == 1 for thread in self.threads.values()), self.threads
        return {number: body for number, (body,) in self.threads.items()}

    @property
    def statuses(self) -> dict[str, Report]:
        """The status of each commit."""
        return {sha: report for (sha, _), report in self.reports.items()}

    @property
    def deployments(self) -> dict[str, Report]:
        """The deployment of each commit."""
        return {sha: report for (sha, _), report in self.deployed.items()}

    # -- people

    def open(self, number: int, sha: str, **more: Any) -> None:
        self.pulls[number] = Pull(
            repository=self.home.name,
            repository_id=self.home.id,
            number=number,
            state="open",
            draft=False,
            title="A change",
            author="ada",
            head_sha=sha,
            head_branch="a-change",
            head_repository=self.home.name,
            base_branch="main",
            labels=(),
            url=f"https://forge.test/{REPOSITORY}/pulls/{number}",
            updated_at=self._now(),
        )
        self.change(number, **more)

    def change(self, number: int, **fields: Any) -> None:
        self.pulls[number] = replace(self.pulls[number], **fields, updated_at=self._now())

    def rename(self, name: str) -> None:
        """The repository is called so, and answers under its old names too."""
        self.home = replace(self.home, name=name)
        self.names.add(name)
        for number, pull in self.pulls.items():
            self.pulls[number] = replace(pull, repository=name, head_repository=name)

    def _now(self) -> datetime:
        self._changes += 1
        return START + timedelta(seconds=self._changes)

    # -- the port

    async def pull(self, repository: str, number: int) -> Pull | None:
        self._call("pull", repository)
        return self.pulls.get(number)

    async def repository(self, repository: str) -> Repository:
        self._call("repository", repository)
        return self.home

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        self._call("open_pulls", repository)
        pulls = tuple(each for each in self.pulls.values() if not each.is_over)
        now = digest(pulls)
        return Listing(pulls=None if mark == now else pulls, mark=now)

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        self._call("changed_paths", repository)
        return self.paths

    async def comment(self, repository: str, number: int, comment: int) -> Comment | None:
        self._call("comment", repository)
        return self.written.get((number, comment))

    async def permission(self, repository: str, login: str) -> Permission:
        return "write"

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        self._call("content", repository)
        return self.files.get(path)

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        self._call("put_comment", repository)
        assert body.startswith(marker)
        thread = self.threads.setdefault(number, [])
        at = next((at for at, each in enumerate(thread) if each.startswith(marker)), len(thread))
        thread[at : at + 1] = [body]
        self._lose("put_comment")
        return f"https://forge.test/{number}#comment"

    async def report(self, repository: str, sha: str, report: Report) -> None:
        self._call("report", repository)
        self.reports[sha, report.context] = report
        self._lose("report")

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        self._call("deploy", repository)
        self.deployed[sha, environment] = report
        self._lose("deploy")

    def clone_url(self, repository: str) -> str:
        return f"https://forge.test/{repository}.git"

    async def close(self) -> None:
        pass

    def _call(self, name: str, repository: str) -> None:
        self.calls.append(name)
        if repository not in self.names:
            raise Blocked(f"{repository} is hidden", key=f"gitea/main/repository/{repository}", mend="Show it.")
        if errors := self.failing.get(name):
            raise errors.pop(0)

    def _lose(self, name: str) -> None:
        if errors := self.losing.get(name):
            raise errors.pop(0)


class ModelForgeKind:
    """See `twin.ports.forge.ForgeKind`: every target is the one forge."""

    name = "gitea"

    def __init__(self, forge: ModelForge) -> None:
        self._forge = forge

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        pass

    def open(self, target: Target, credentials: Mapping[str, str]) -> Forge:
        return self._forge

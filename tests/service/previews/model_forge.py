"""A forge in memory: pull requests as people change them, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from twin.domain.digest import digest
from twin.domain.pulls import Permission, Pull
from twin.ports.forge import Forge, Listing, Report

REPOSITORY = "acme/guestbook"
START = datetime(2026, 1, 1, tzinfo=UTC)


class ModelForge:
    """See `twin.ports.forge.Forge`. `failing`: what the next calls raise, by their name."""

    def __init__(self) -> None:
        self.pulls: dict[int, Pull] = {}
        self.paths: tuple[str, ...] = ("app.py",)
        self.files: dict[str, bytes] = {}
        self.comments: dict[int, str] = {}
        self.statuses: dict[str, Report] = {}
        self.deployments: dict[str, Report] = {}
        self.failing: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self._changes = 0

    # -- people

    def open(self, number: int, sha: str, **more: Any) -> None:
        self.pulls[number] = Pull(
            repository=REPOSITORY,
            number=number,
            state="open",
            draft=False,
            title="A change",
            author="ada",
            head_sha=sha,
            head_branch="a-change",
            head_repository=REPOSITORY,
            base_branch="main",
            labels=(),
            url=f"https://forge.test/{REPOSITORY}/pulls/{number}",
            updated_at=self._now(),
        )
        self.change(number, **more)

    def change(self, number: int, **fields: Any) -> None:
        self.pulls[number] = replace(self.pulls[number], **fields, updated_at=self._now())

    def _now(self) -> datetime:
        self._changes += 1
        return START + timedelta(seconds=self._changes)

    # -- the port

    async def pull(self, repository: str, number: int) -> Pull | None:
        self._call("pull")
        return self.pulls.get(number)

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        self._call("open_pulls")
        pulls = tuple(each for each in self.pulls.values() if not each.is_over)
        now = digest(pulls)
        return Listing(pulls=None if mark == now else pulls, mark=now)

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        self._call("changed_paths")
        return self.paths

    async def permission(self, repository: str, login: str) -> Permission:
        return "write"

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        self._call("content")
        return self.files.get(path)

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        self._call("put_comment")
        assert body.startswith(marker)
        self.comments[number] = body
        return f"https://forge.test/{number}#comment"

    async def report(self, repository: str, sha: str, report: Report) -> None:
        self._call("report")
        self.statuses[sha] = report

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        self._call("deploy")
        self.deployments[sha] = report

    def clone_url(self, repository: str) -> str:
        return f"https://forge.test/{repository}.git"

    async def close(self) -> None:
        pass

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if errors := self.failing.get(name):
            raise errors.pop(0)


class ModelForges:
    """See `twin.ports.forge.OpenForges`."""

    def __init__(self, forges: Mapping[str, Forge]) -> None:
        self._forges = forges

    async def forge(self, target: str) -> Forge:
        return self._forges[target]

    async def close(self) -> None:
        pass

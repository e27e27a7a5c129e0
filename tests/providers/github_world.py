"""A repository of the loopback's GitHub as its people use it, for the contract suite of forges."""

from __future__ import annotations

from collections.abc import Mapping

from tests.providers import github_pulls
from tests.providers.github_server import GitHub, Json
from twin.domain.pulls import Permission
from twin.testing.conformance.forge_hooks import Said


class GitHubWorld:
    """A repository and its people; who uses it by the API is the code under test alone."""

    def __init__(self, github: GitHub, us: str) -> None:
        self.github, self.us = github, us
        self._it = github.add("shop/guestbook", readers=("*",))
        self.hidden = github.add("shop/secret-plans", readers=("shop",))["full_name"]
        self.people: Mapping[Permission, str] = {"read": "reader", "write": "writer", "admin": "shop"}
        self._it["people"] = {login: permission for permission, login in self.people.items()}

    @property
    def repository(self) -> str:
        return str(self._it["full_name"])

    async def open_pull(
        self,
        *,
        title: str = "A change",
        draft: bool = False,
        fork: bool = False,
        labels: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
    ) -> int:
        number = len(self._it["pulls"]) + 1
        author = "visitor" if fork else "shop"
        head = f"visitor/guestbook-{number}" if fork else self.repository
        if fork:
            self.github.add(head, readers=("*",))
        github_pulls.open_pull(
            self._it, number, title=title, author=author, head=head, draft=draft, labels=labels, files=files
        )
        return number

    async def push(self, number: int, files: Mapping[str, str]) -> str:
        return github_pulls.push(self._it, number, files)

    async def head(self, number: int) -> str:
        return str(self._it["pulls"][number]["sha"])

    async def close(self, number: int, *, merge: bool = False) -> None:
        github_pulls.close(self._it, number, merge=merge)

    async def reopen(self, number: int) -> None:
        github_pulls.changed(self._it, number)["state"] = "open"

    async def remove_fork(self, number: int) -> None:
        del self.github.repositories[self._it["pulls"][number]["head_repository"]]
        self._it["pulls"][number]["head_repository"] = None

    async def rename(self) -> str:
        old, new = self.repository, "shop/visitors"
        self.github.repositories[new] = self.github.repositories.pop(old)
        self.github.moved[old] = new
        for pull in self._it["pulls"].values():
            pull["head_repository"] = new if pull["head_repository"] == old else pull["head_repository"]
        self._it["full_name"] = new
        return old

    async def comment(self, number: int, body: str, *, ours: bool = False) -> int:
        return int(self.github.comment(self._it, number, self.us if ours else "visitor", body)["id"])

    async def comment_elsewhere(self, body: str) -> int:
        other = self.github.add("shop/elsewhere", readers=("*",))
        github_pulls.open_pull(other, 1)
        return int(self.github.comment(other, 1, "visitor", body)["id"])

    async def edit_comment(self, comment: int, body: str) -> None:
        self._written(comment)["body"] = body

    async def delete_comment(self, comment: int) -> None:
        written = self._written(comment)
        self._it["pulls"][written["number"]]["comments"].remove(written)

    def _written(self, comment: int) -> Json:
        every = [each for pull in self._it["pulls"].values() for each in pull["comments"]]
        found: Json = next(each for each in every if each["id"] == comment)
        return found

    async def comments(self, number: int) -> list[tuple[str, str]]:
        return [(each["author"], each["body"]) for each in self._it["pulls"][number]["comments"]]

    async def statuses(self, sha: str) -> dict[str, list[Said]]:
        said: dict[str, list[Said]] = {}
        for each in reversed(self._it["statuses"]):
            if each["sha"] == sha:
                told = Said(state=each["state"], summary=each["description"], url=each["target_url"])
                said.setdefault(each["context"], []).append(told)
        return said

    def said_of_deployments(self, sha: str) -> list[str]:
        """All that was said of the deployments of a commit."""
        return [
            said["state"] for each in self._it["deployments"].values() for said in each["said"] if each["sha"] == sha
        ]

    async def deployments(self, sha: str, environment: str) -> list[Said | None]:
        def told(said: list[Json]) -> Said | None:
            return (
                Said(state=said[-1]["state"], summary=said[-1]["description"], url=said[-1]["environment_url"] or None)
                if said
                else None
            )

        return [
            told(each["said"])
            for each in self._it["deployments"].values()
            if (each["sha"], each["environment"]) == (sha, environment)
        ]

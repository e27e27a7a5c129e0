"""Gitea by the suite of forges, on a real one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from providers.gitea import KIND
from providers.gitea.forge import STATES
from tests.providers.gitea_world import PER_PAGE, Account, Gitea, Repository
from tests.waiting import soon
from twin.domain.errors import Blocked, Invalid, Transient
from twin.domain.pulls import Permission
from twin.domain.targets import Target
from twin.testing.conformance.forge import ForgeConformance
from twin.testing.conformance.forge_hooks import Said
from twin.testing.loopback import Answer
from twin.testing.meddling import Meddler, instead

_numbers = itertools.count(1)


class GiteaWorld:
    """A repository of its own for each test, used by people over the API and git. One in which nothing was done serves
    the next test too."""

    def __init__(self, gitea: Gitea, untouched: list[Repository]) -> None:
        self._gitea = gitea
        self._owner, self._other, self.bot = gitea.add("shop"), gitea.add("visitor"), gitea.add("twin-bot")
        reader, writer = gitea.add("reader"), gitea.add("writer")
        self._it = untouched.pop() if untouched else gitea.repository(self._owner, f"guestbook-{next(_numbers)}")
        for account, permission in ((self.bot, "admin"), (reader, "read"), (writer, "write")):
            self._it.let_in(account, permission)
        self._untouched = untouched
        self.hidden = self._hidden()
        self.us = self.bot.login
        self.people: Mapping[Permission, str] = {"read": "reader", "write": "writer", "admin": self._owner.login}
        self._heads: dict[int, tuple[Repository, str]] = {}
        self._stock: list[str] = []

    def _hidden(self) -> str:
        name = "secret-plans"
        if not self._owner.has(f"/repos/shop/{name}"):
            self._gitea.repository(self._owner, name, private=True)
        return f"shop/{name}"

    @property
    def repository(self) -> str:
        return self._it.full_name

    def leave(self) -> None:
        """The test is over."""
        if not self._heads:
            self._untouched.append(self._it)

    async def open_pull(
        self,
        *,
        title: str = "A change",
        draft: bool = False,
        fork: bool = False,
        labels: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
    ) -> int:
        at = self._gitea.fork(self._it, self._other) if fork else self._it
        by: Account = at.owner
        branch = self._branch() if files is None and not fork else f"change-{next(_numbers)}"
        if files is not None or fork:
            at.commit(branch, files or {"new.txt": "new"})
        head = f"{by.login}:{branch}" if fork else branch
        number = self._it.pull(branch, title=f"WIP: {title}" if draft else title, by=by, head=head)
        self._heads[number] = (at, branch)
        if labels:
            self._it.label(number, *labels)
        return number

    def _branch(self) -> str:
        """One with a change of no importance; a push costs as much for several as for one."""
        if not self._stock:
            first, *more = [f"change-{next(_numbers)}" for _ in range(2 * PER_PAGE)]
            self._it.commit(first, {"new.txt": "new"})
            self._it.copy(first, *more)
            self._stock = [first, *more]
        return self._stock.pop()

    async def push(self, number: int, files: Mapping[str, str]) -> str:
        at, branch = self._heads[number]
        sha = at.commit(branch, files)

        # Gitea takes note of a push in its own time.
        async def noted() -> bool:
            return await self.head(number) == sha

        await soon(noted, within=60)
        return sha

    async def head(self, number: int) -> str:
        pulls = self._owner.call("GET", f"{self._it.path}/git/refs/pull/{number}/head")
        return str(pulls[0]["object"]["sha"])

    async def close(self, number: int, *, merge: bool = False) -> None:
        if merge:
            self._it.merge(number)
        else:
            self._it.edit(number, state="closed")

    async def reopen(self, number: int) -> None:
        self._it.edit(number, state="open")

    async def remove_fork(self, number: int) -> None:
        self._heads[number][0].remove()

    async def rename(self) -> str:
        old = self._it.full_name
        self._it.rename(f"renamed-{next(_numbers)}")
        return old

    async def comment(self, number: int, body: str, *, ours: bool = False) -> int:
        return self._it.comment(number, body, by=self.bot if ours else self._other)

    async def comment_elsewhere(self, body: str) -> int:
        other = self._gitea.repository(self._owner, f"elsewhere-{next(_numbers)}")
        issue = self._owner.call("POST", f"{other.path}/issues", {"title": "Something"})
        return other.comment(issue["number"], body)

    async def edit_comment(self, comment: int, body: str) -> None:
        self._other.call("PATCH", f"{self._it.path}/issues/comments/{comment}", {"body": body})

    async def delete_comment(self, comment: int) -> None:
        self._owner.call("DELETE", f"{self._it.path}/issues/comments/{comment}")

    async def comments(self, number: int) -> list[tuple[str, str]]:
        return [(each["user"]["login"], each["body"]) for each in self._it.comments(number)]

    async def statuses(self, sha: str) -> dict[str, list[Said]]:
        said: dict[str, list[Said]] = {}
        found, page = [], 1
        while more := self._owner.call("GET", f"{self._it.path}/statuses/{sha}", sort="leastindex", page=page):
            found, page = found + more, page + 1
        for each in sorted(found, key=lambda status: -int(status["id"])):
            told = Said(state=each["status"], summary=each["description"], url=each["target_url"] or None)
            said.setdefault(each["context"], []).append(told)
        return said

    async def deployments(self, sha: str, environment: str) -> list[Said | None]:
        return []


@pytest.fixture(scope="session")
def untouched() -> list[Repository]:
    """Repositories in which no test has done anything."""
    return []


class TestGitea(ForgeConformance):
    """A real Gitea."""

    kind = KIND
    page_size = PER_PAGE
    has_deployments = False
    conditional = False
    states: ClassVar = STATES
    limits: ClassVar = {
        "a proxy's limit": (Answer(status=429, headers={"retry-after": "17"}), 17),
        "a proxy's limit with a date": (
            Answer(status=429, headers={"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}),
            7200,
        ),
        "an overload": (Answer(status=503, headers={"retry-after": "30"}), 30),
    }

    @pytest.fixture
    def world(self, gitea: Gitea, untouched: list[Repository]) -> Iterator[GiteaWorld]:
        world = GiteaWorld(gitea, untouched)
        self.upstream = gitea.url
        self.credentials = {"token": world.bot.token, "webhook_secret": "a-secret-of-some-length"}
        self._url = gitea.url
        yield world
        world.leave()

    def config(self, origin: str) -> Mapping[str, Any]:
        return {"url": self._url, "api_url": f"{origin}/api/v1"}

    def refused(self) -> Mapping[str, str]:
        return {"token": "0123456789abcdef0123456789abcdef01234567"}

    async def test_token_without_rights_is_blocked(self, gitea: Gitea, world: GiteaWorld, between: Meddler) -> None:
        narrow = self.open(between.url, {"token": gitea.token("twin-bot", "read:repository")})
        number = await world.open_pull()
        assert await narrow.pull(world.repository, number) is not None
        with pytest.raises(Blocked) as refused:
            await narrow.put_comment(world.repository, number, "<!-- twin -->", "hello")
        assert refused.value.key.startswith("gitea/test/permission/")
        await narrow.close()

    async def test_pull_that_gitea_cannot_look_at_is_not_gone(self, world: GiteaWorld, between: Meddler) -> None:
        forge = self.open(between.url)
        number = await world.open_pull()
        between.rule = instead(Answer(body=b"null"), when=lambda call: call.path.endswith(f"/pulls/{number}"))
        with pytest.raises(Transient):
            await forge.pull(world.repository, number)
        await forge.close()


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({}, {"token": "t"}, "config"),
        ({"url": "ftp://git.example"}, {"token": "t"}, "config.url"),
        ({"url": "https://user:pass@git.example"}, {"token": "t"}, "config.url"),
        ({"url": "https://git.example?x"}, {"token": "t"}, "config.url"),
        ({"url": "https://git.example"}, {}, "credentials"),
        ({"url": "https://git.example"}, {"token": "two\nlines"}, "credentials.token"),
        ({"url": "https://git.example"}, {"token": "t", "webhook_secret": "short"}, "credentials.webhook_secret"),
    ],
)
def test_wrong_configuration_names_the_field(config: Any, credentials: Any, field: str) -> None:
    with pytest.raises(Invalid) as wrong:
        KIND.check(Target(name="gitea/main", provider="gitea", config=config), credentials)
    assert wrong.value.field == field
    assert not any(value in str(wrong.value) for value in credentials.values() if len(value) > 1)

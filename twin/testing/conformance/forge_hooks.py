"""What a forge's author fills in for the conformance suite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ClassVar, Protocol

import pytest
import pytest_asyncio
from msgspec import Struct

from twin.domain.errors import StepFailure
from twin.domain.pulls import Permission
from twin.domain.targets import Target
from twin.ports.forge import Forge, ForgeKind, Report
from twin.testing.loopback import Answer, Call
from twin.testing.meddling import Meddler

MARKER = "<!-- twin: preview -->"
NOWHERE = "0" * 40
CONTEXT = "twin/preview"

Use = Callable[[Forge, str, int, str], Awaitable[object]]
"""Something that a forge is used for: in a repository, of a pull request, at a commit."""

PENDING = Report(context=CONTEXT, outcome="pending", summary="is being made")

USES: dict[str, Use] = {
    "pull": lambda forge, repository, number, sha: forge.pull(repository, number),
    "repository": lambda forge, repository, number, sha: forge.repository(repository),
    "open_pulls": lambda forge, repository, number, sha: forge.open_pulls(repository),
    "changed_paths": lambda forge, repository, number, sha: forge.changed_paths(repository, number),
    "comment": lambda forge, repository, number, sha: forge.comment(repository, number, 1),
    "permission": lambda forge, repository, number, sha: forge.permission(repository, "somebody"),
    "content": lambda forge, repository, number, sha: forge.content(repository, "README.md", sha),
    "put_comment": lambda forge, repository, number, sha: forge.put_comment(repository, number, MARKER, "hello"),
    "report": lambda forge, repository, number, sha: forge.report(repository, sha, PENDING),
    "deploy": lambda forge, repository, number, sha: forge.deploy(repository, sha, "preview", PENDING),
}

uses = pytest.mark.parametrize("use", USES.values(), ids=USES.keys())


class Said(Struct, frozen=True, kw_only=True):
    """A status or the latest state of a deployment, in the forge's own word."""

    state: str
    summary: str
    url: str | None


class ForgeWorld(Protocol):
    """A forge with one repository, as its people use it: not by the code under test."""

    repository: str
    hidden: str
    """One that is there, and that our credential may not see."""

    us: str
    """Our login."""

    people: Mapping[Permission, str]
    """Somebody for each permission in the repository."""

    async def open_pull(
        self,
        *,
        title: str = "A change",
        draft: bool = False,
        fork: bool = False,
        labels: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
    ) -> int:
        """Open a pull request, of a branch of its own; from another one's fork if asked."""
        ...

    async def push(self, number: int, files: Mapping[str, str]) -> str:
        """One more commit of a pull request; its id."""
        ...

    async def head(self, number: int) -> str:
        """The last commit of a pull request."""
        ...

    async def close(self, number: int, *, merge: bool = False) -> None:
        """Close or merge it."""
        ...

    async def reopen(self, number: int) -> None:
        """Open it again."""
        ...

    async def remove_fork(self, number: int) -> None:
        """Delete the fork that a pull request came from."""
        ...

    async def rename(self) -> str:
        """Give the repository another name, which stands in `repository` from now on; the old one."""
        ...

    async def comment(self, number: int, body: str, *, ours: bool = False) -> int:
        """Comment, as somebody else or with our credential; the id of the comment."""
        ...

    async def comment_elsewhere(self, body: str) -> int:
        """Comment on something in another repository that our credential may see; the id of the comment."""
        ...

    async def edit_comment(self, comment: int, body: str) -> None:
        """Whoever wrote it makes something else of it."""
        ...

    async def delete_comment(self, comment: int) -> None:
        """Delete it."""
        ...

    async def comments(self, number: int) -> list[tuple[str, str]]:
        """Author and body of all, oldest first."""
        ...

    async def statuses(self, sha: str) -> dict[str, list[Said]]:
        """By context: what was said last, first."""
        ...

    async def deployments(self, sha: str, environment: str) -> list[Said | None]:
        """What was last said of each deployment of ours."""
        ...


class ForgeHooks(ABC):
    """All but the tests."""

    kind: ClassVar[ForgeKind]

    page_size: ClassVar[int]
    """Pull requests on one page of the forge's."""

    has_deployments: ClassVar[bool]

    states: ClassVar[Mapping[str, str]]
    """The forge's word for each outcome in a commit's status."""

    limits: ClassVar[Mapping[str, tuple[Answer, float]]]
    """How it limits the rate, and after how many seconds at most it is to be asked again."""

    conditional: ClassVar[bool]
    """Whether it tells by itself that a listing has not changed."""

    credentials: Mapping[str, str] = {}
    """What opens the forge, and must show up nowhere. Set with the world."""

    upstream: str
    """Scheme, host and port of the API."""

    @abstractmethod
    def config(self, origin: str) -> Mapping[str, Any]:
        """The forge's configuration with its API at another origin; `timeout` comes besides."""

    @abstractmethod
    def refused(self) -> Mapping[str, str]:
        """Credentials of the right form that the forge does not take."""

    def is_listing(self, call: Call) -> bool:
        """Whether it asks for the pull requests."""
        return call.method == "GET" and call.path.endswith("/pulls")

    def is_comments(self, call: Call) -> bool:
        """Whether it is about a comment."""
        return "/comments" in call.path

    def open(self, origin: str, credentials: Mapping[str, str] | None = None, timeout: float = 20) -> Forge:
        """The forge behind an origin."""
        name = self.kind.name
        config = {**self.config(origin), "timeout": timeout}
        given = self.credentials if credentials is None else credentials
        return self.kind.open(Target(name=f"{name}/test", provider=name, config=config), given)

    @pytest_asyncio.fixture
    async def between(self, world: ForgeWorld) -> AsyncIterator[Meddler]:
        """What stands between us and the forge."""
        async with Meddler(self.upstream) as meddler:
            yield meddler

    @pytest_asyncio.fixture
    async def forge(self, between: Meddler) -> AsyncIterator[Forge]:
        """The forge, seen through the meddler."""
        opened = self.open(between.url)
        yield opened
        await opened.close()

    def assert_hidden(self, failure: StepFailure) -> None:
        """No credential stands in a failure."""
        text = f"{failure!r} {failure.__cause__!r} {failure.__context__!r} {vars(failure)}"
        for secret in self.credentials.values():
            assert secret not in text

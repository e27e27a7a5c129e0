"""The port to a forge: where repositories and their pull requests are.

Every call raises `Transient` if the forge cannot answer now (network, its own errors, a rate limit: then with
`retry_after`), `Blocked` if a human must mend something first (a token that is refused, a repository that is not
visible), `Terminal` if it can never succeed as asked (what is no repository's name, a file that is too large). A
repository is named `owner/name`; a commit by the whole of its id, and one that the forge does not know is `Transient`:
it may not have fetched it yet. One that was renamed answers under its old name too, until another takes that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from twin.domain.pulls import Outcome, Permission, Pull, Repository
from twin.domain.targets import Target


class Listing(Struct, frozen=True, kw_only=True):
    """All open pull requests of a repository: whole, or it is not given at all. `mark` is what a later call gives back
    to learn cheaply that nothing has changed; `pulls` is None if nothing has."""

    pulls: tuple[Pull, ...] | None
    mark: str


class Comment(Struct, frozen=True, kw_only=True):
    """What somebody wrote under a pull request, as it stands there now. `at`: when it was written first."""

    author: str
    body: str
    at: datetime


class Report(Struct, frozen=True, kw_only=True):
    """What is said of a commit. `context` names who says it; one of the same context takes its place."""

    context: str
    outcome: Outcome
    summary: str
    url: str | None = None


class Forge(Protocol):
    """One forge as seen with one credential."""

    async def pull(self, repository: str, number: int) -> Pull | None:
        """The pull request as it is now. None only by the positive answer that it is not there: a repository that is
        not there either, or is hidden, raises `Blocked`."""
        ...

    async def repository(self, repository: str) -> Repository:
        """Which one is called so, or was, and what it is called now."""
        ...

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        """All that are open, over all pages; raises `Transient` if a page is missing or contradicts another."""
        ...

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        """The paths that the pull request changes; None if there are more than the forge tells."""
        ...

    async def comment(self, repository: str, number: int, comment: int) -> Comment | None:
        """A comment under the pull request, by the forge's id of it. None only by the positive answer that there is no
        such one, which it is also if it is under another one, or if its author is not known any more."""
        ...

    async def permission(self, repository: str, login: str) -> Permission:
        """What somebody may do in the repository."""
        ...

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        """A small file of a commit; None if the commit has none there."""
        ...

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        """Have exactly one comment of ours that begins with `marker`, with this body; its URL. Repeated after a crash
        it makes no second one, and of several it leaves the first. Comments of others are left alone, whatever they
        begin with."""
        ...

    async def report(self, repository: str, sha: str, report: Report) -> None:
        """The status of a commit."""
        ...

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        """The deployment of a commit to an environment, made if it is not there, but not only to be inactive, which
        those of earlier commits are then, too. Nothing where the forge has no such thing."""
        ...

    def clone_url(self, repository: str) -> str:
        """Where git fetches from, without any credential."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class ForgeKind(Protocol):
    """A forge before it is configured. It is configured as a target, `github/main`, that no component stands on."""

    name: str

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field, if the target's config or credentials cannot be right. No I/O."""
        ...

    def open(self, target: Target, credentials: Mapping[str, str]) -> Forge:
        """The forge of this target. Connects lazily."""
        ...


class OpenForges(Protocol):
    """Opens forges and keeps them while they are used."""

    async def forge(self, target: str, project: str | None = None) -> Forge:
        """The forge of a target, with its present config and credentials, for the previews of a project (None: to read
        what is delivered to it). Raises `Blocked` when it is not configured any more (`<target>/missing`), or is not
        for that project's previews (`<target>/limits/<project>`)."""
        ...

    async def close(self) -> None:
        """Close all that are open."""
        ...

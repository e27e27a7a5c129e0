"""The forge as it is: repositories, pull requests, who wrote what, and what we have said. Only people change the first.

Its times and numbers are the forge's own. What it has answered is kept beside, for it is by that alone that the twin
may destroy.
"""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from twin.domain.previews.commands import Command, parse_command
from twin.domain.pulls import Pull
from twin.forges.sticky import Comment
from twin.ports import forge
from twin.ports.forge import Report
from twin.testing.simulator.virtual_loop import START

TARGET = "sim/main"
HOST = "forge.sim"
ONE_OF_US = "twin-bot"

Key = tuple[str, int]
"""A repository and a number."""


class Commit(Struct, frozen=True):
    """One commit. `born` in seconds; `fork`: it came from a stranger's repository; `file`: its `.twin/preview.yaml`."""

    sha: str
    born: float
    fork: bool
    file: bytes | None


class Leave(Struct, frozen=True):
    """A member wrote `/twin allow`: when, and of which commit, if it was named."""

    at: float
    named: str


class Written(Struct):
    """A comment, anybody's."""

    id: int
    author: str
    body: str
    at: float


def id_of(repository: str) -> int:
    """Its own: none is renamed."""
    return zlib.crc32(repository.encode())


class ForgeTruth:
    """All that the forge has. `denials`: when it has shown a pull request as one that should have no preview."""

    def __init__(self) -> None:
        self.pulls: dict[Key, Pull] = {}
        self.commits: dict[str, Commit] = {}
        self.leaves: dict[Key, list[Leave]] = {}
        self.comments: dict[Key, list[Written]] = {}
        self.statuses: dict[tuple[str, str, str], Report] = {}
        self.deployments: dict[tuple[str, str, str], Report] = {}
        self.denials: dict[Key, list[float]] = {}
        self._numbers: dict[str, int] = {}
        self._ids = 0

    # -- people

    def open(self, repository: str, sha: str, *, fork: bool, file: bytes | None, **fields: Any) -> Pull:
        """A new pull request."""
        number = self._numbers[repository] = self._numbers.get(repository, 0) + 1
        origin = "eve/fork" if fork else repository
        self._commit(sha, fork=fork, file=file)
        pull = Pull(
            repository=repository,
            repository_id=id_of(repository),
            number=number,
            state="open",
            draft=False,
            title="A change",
            author="eve" if fork else "ada",
            head_sha=sha,
            head_branch="../../x; rm -rf" if fork else "feature/Blue_Button",
            head_repository=origin,
            base_branch="main",
            labels=(),
            url=f"https://{HOST}/{repository}/pulls/{number}",
            updated_at=START,
        )
        return self._put(replace(pull, **fields))

    def push(self, key: Key, sha: str, file: bytes | None) -> None:
        """Another head, by a push or a push by force."""
        self._commit(sha, fork=self.pulls[key].is_fork, file=file)
        self.change(key, head_sha=sha)

    def change(self, key: Key, **fields: Any) -> None:
        """Anything else about it."""
        self._put(replace(self.pulls[key], **fields))

    def delete(self, key: Key) -> None:
        """As if it had never been, as a forge's admin can do it."""
        del self.pulls[key]

    def write(self, key: Key, author: str, text: str) -> Written:
        """Somebody comments."""
        self._ids += 1
        written = Written(self._ids, author, text, _now())
        self.comments.setdefault(key, []).append(written)
        match parse_command(text):
            case Command(name="allow", argument=named) if author in MEMBERS:
                self.leaves.setdefault(key, []).append(Leave(_now(), named.lower()))
            case _:
                pass
        return written

    def _commit(self, sha: str, *, fork: bool, file: bytes | None) -> None:
        self.commits[sha] = Commit(sha, _now(), fork, file)

    def _put(self, pull: Pull) -> Pull:
        key = (pull.repository, pull.number)
        # A forge's times are coarse, and so two changes may have the same.
        at = START + timedelta(seconds=int(_now()))
        self.pulls[key] = replace(pull, updated_at=at)
        return self.pulls[key]

    # -- what may be

    def may_run(self, key: Key, sha: str) -> bool:
        """Whether the commit is one of us, or a member has allowed it when it was there to be read."""
        commit = self.commits.get(sha)
        if commit is None or not commit.fork:
            return commit is not None
        return any(commit.born <= each.at and sha.startswith(each.named) for each in self.leaves.get(key, ()))

    def denied(self, key: Key) -> None:
        """The forge has shown the pull request as one that should have no preview."""
        self.denials.setdefault(key, []).append(_now())

    # -- ours

    def ours(self, key: Key) -> tuple[Comment, ...]:
        """Our comments."""
        return tuple(
            Comment(id=each.id, body=each.body, url=f"https://{HOST}/{key[0]}/pulls/{key[1]}#{each.id}")
            for each in self.comments.get(key, ())
            if each.author == ONE_OF_US
        )

    def written(self, key: Key, comment: int) -> forge.Comment | None:
        """What somebody wrote."""
        found = next((each for each in self.comments.get(key, ()) if each.id == comment), None)
        if found is None:
            return None
        return forge.Comment(author=found.author, body=found.body, at=START + timedelta(seconds=found.at))

    def edit(self, key: Key, comment: int, body: str) -> bool:
        """Another body; False if it is gone."""
        found = next((each for each in self.comments.get(key, ()) if each.id == comment), None)
        if found is not None:
            found.body = body
        return found is not None

    def erase(self, key: Key, comment: int) -> None:
        """Away with it."""
        self.comments[key] = [each for each in self.comments.get(key, ()) if each.id != comment]


MEMBERS = ("ada", "bo")
"""Who may write to the repositories; anybody else may read."""


def denies(pull: Pull) -> bool:
    """Whether it should have no preview, as all sources are configured here."""
    return pull.is_over or pull.draft or "no-preview" in pull.labels


def _now() -> float:
    return asyncio.get_running_loop().time()

"""What we read of Gitea's answers: only what is used, so that a change elsewhere in them breaks nothing.

Field by field as in Gitea's `modules/structs`; Forgejo has the same.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from twin.domain import pulls
from twin.domain.pulls import Pull
from twin.forges.listing import Contradiction
from twin.ports import forge


class User(Struct):
    """Who wrote something."""

    id: int
    login: str


class Repository(Struct):
    """A repository."""

    id: int
    full_name: str

    def told(self, asked: str) -> pulls.Repository:
        """As the twin sees it: under the name that it was asked for by, unless it has another one now. Names are the
        same in capitals."""
        name = asked if self.full_name.casefold() == asked.casefold() else self.full_name
        return pulls.Repository(id=self.id, name=name)


class Branch(Struct):
    """One side of a pull request. `label` is the branch's name, also when the branch is gone: `ref` is then that of
    the pull request. `repo` is null when the fork is gone; `label` is empty if there never was a branch."""

    label: str
    ref: str
    sha: str
    repo: Repository | None = None


class Label(Struct):
    """A label."""

    name: str


class PullRequest(Struct):
    """One pull request. `changed_files` stands only in the answer for a single one, and not for every one."""

    number: int
    user: User | None
    title: str
    state: str
    html_url: str
    updated_at: datetime
    base: Branch
    head: Branch
    draft: bool = False
    merged: bool = False
    labels: list[Label] | None = None

    def told(self, repository: str) -> Pull:
        """As the twin sees it. Raises `Contradiction` while Gitea does not know its commit yet."""
        if self.state not in ("open", "closed"):
            raise Contradiction(f"pull request {self.number} is {self.state}")
        if not self.head.sha:
            raise Contradiction(f"pull request {self.number} has no commit yet")
        if self.base.repo is None:
            raise Contradiction(f"pull request {self.number} is of no repository")
        home = self.base.repo.told(repository)
        return Pull(
            repository=home.name,
            repository_id=home.id,
            number=self.number,
            state="open" if self.state == "open" else "merged" if self.merged else "closed",
            draft=self.draft,
            title=self.title,
            author=self.user.login if self.user else "ghost",
            head_sha=self.head.sha,
            head_branch=self.head.label or self.head.ref,
            head_repository=self._head_repository(home),
            base_branch=self.base.ref,
            labels=tuple(sorted(label.name for label in self.labels or ())),
            url=self.html_url,
            updated_at=self.updated_at.astimezone(UTC),
        )

    def _head_repository(self, home: pulls.Repository) -> str | None:
        """By id, for names change: a repository that was renamed answers under its old name too."""
        if self.head.repo is None:
            return None
        return home.name if self.head.repo.id == home.id else self.head.repo.full_name


class ChangedFile(Struct):
    """A file that a pull request changes; with its old name, if it was renamed."""

    filename: str
    previous_filename: str = ""


class Permission(Struct):
    """What somebody may do."""

    permission: str


class Content(Struct):
    """An entry of a commit's tree. `content` is there for files, in base64."""

    type: str
    size: int = 0
    encoding: str | None = None
    content: str | None = None


class Comment(Struct):
    """A comment under a pull request. `pull_request_url` is the page of it, empty under an issue. `original_author`
    wrote one that was brought here from another forge, and `user` is then whoever brought it, or Gitea's ghost."""

    id: int
    body: str
    html_url: str
    user: User | None = None
    created_at: datetime | None = None
    pull_request_url: str = ""
    original_author: str = ""

    def told(self, number: int) -> forge.Comment | None:
        """As the twin sees it: None if it is not of this pull request, or of nobody. The ghost of users who are gone
        has no id that a user could have. Raises `Contradiction` if it was never written."""
        if self.pull_request_url.rpartition("/")[2] != str(number):
            return None
        if self.user is None or self.user.id < 1 or self.original_author:
            return None
        if self.created_at is None:
            raise Contradiction(f"comment {self.id} has no time")
        return forge.Comment(author=self.user.login, body=self.body, at=self.created_at.astimezone(UTC))


class Status(Struct):
    """What was said of a commit under one context. Gitea calls the state `status` here."""

    status: str
    context: str
    description: str = ""
    target_url: str = ""


class Statuses(Struct):
    """The latest of each context; null if there is none."""

    statuses: list[Status] | None

"""What we read of GitHub's answers.

githubkit has models of all of it, some hundred fields for a pull request. We read a dozen of them, so that a field that
GitHub fills otherwise than its description says stops nothing that does not use it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct, field

from twin.domain import pulls
from twin.domain.pulls import Pull
from twin.forges.listing import Contradiction
from twin.ports import forge


class User(Struct):
    """Who wrote something."""

    login: str


class AppItself(Struct):
    """The app that we are. `slug` is its name in addresses and in the login of its bot."""

    slug: str


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
    """One side of a pull request. `repo` is null when the fork is gone."""

    ref: str
    sha: str
    repo: Repository | None = None


class Label(Struct):
    """A label."""

    name: str


class PullRequest(Struct):
    """One pull request. `changed_files` stands only in the answer for a single one."""

    number: int
    user: User | None
    title: str
    state: str
    html_url: str
    updated_at: datetime
    base: Branch
    head: Branch
    draft: bool = False
    merged_at: datetime | None = None
    labels: list[Label] = field(default_factory=list)
    changed_files: int | None = None

    def told(self, repository: str) -> Pull:
        """As the twin sees it. Raises `Contradiction` for a state that GitHub does not document."""
        if self.state not in ("open", "closed"):
            raise Contradiction(f"pull request {self.number} is {self.state}")
        if self.base.repo is None:
            raise Contradiction(f"pull request {self.number} is of no repository")
        home = self.base.repo.told(repository)
        return Pull(
            repository=home.name,
            repository_id=home.id,
            number=self.number,
            state="open" if self.state == "open" else "closed" if self.merged_at is None else "merged",
            draft=self.draft,
            title=self.title,
            author=self.user.login if self.user else "ghost",
            head_sha=self.head.sha,
            head_branch=self.head.ref,
            head_repository=self._head_repository(home),
            base_branch=self.base.ref,
            labels=tuple(sorted(label.name for label in self.labels)),
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
    previous_filename: str | None = None


class Permission(Struct):
    """What somebody may do; GitHub folds `maintain` and `triage` into these."""

    permission: str


class Content(Struct):
    """An entry of a commit's tree; the content in base64, unless it is too large for that."""

    type: str
    size: int = 0
    encoding: str | None = None
    content: str | None = None


class Comment(Struct):
    """A comment under a pull request. `issue_url` ends with its number; `user` is null if the account is gone."""

    id: int
    html_url: str
    body: str | None = None
    user: User | None = None
    created_at: datetime | None = None
    issue_url: str = ""

    def told(self, number: int) -> forge.Comment | None:
        """As the twin sees it: None if it is not of this number, or of nobody. Raises `Contradiction` if it was never
        written."""
        if self.issue_url.rpartition("/")[2] != str(number) or self.user is None:
            return None
        if self.created_at is None:
            raise Contradiction(f"comment {self.id} has no time")
        return forge.Comment(author=self.user.login, body=self.body or "", at=self.created_at.astimezone(UTC))


class Status(Struct):
    """What was said of a commit under one context."""

    state: str
    context: str
    description: str | None = None
    target_url: str | None = None


class Statuses(Struct):
    """The latest of each context."""

    statuses: list[Status]


class Deployment(Struct):
    """A deployment of a commit."""

    id: int
    sha: str
    creator: User | None = None


class DeploymentStatus(Struct):
    """What was said of a deployment. What was not given is an empty text."""

    state: str
    description: str = ""
    environment_url: str = ""

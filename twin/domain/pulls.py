"""A pull request as its forge shows it: what previews are decided by."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

PullState = Literal["open", "closed", "merged"]

Permission = Literal["none", "read", "write", "admin"]
"""What somebody may do in a repository."""

Outcome = Literal["pending", "success", "failure", "inactive"]
"""How a deployment of a commit is. `inactive`: it was, and is no more."""


class Repository(Struct, frozen=True, kw_only=True):
    """A repository as its forge knows it now. It may be renamed, and another one take its name: `id` is its own."""

    id: int
    name: str


class Pull(Struct, frozen=True, kw_only=True):
    """One pull request at one moment. `repository` is called so now, whatever it was asked for by; `repository_id` is
    None in what was kept before it was read. `head_repository` is None when the fork that it came from is gone."""

    repository: str
    number: int
    state: PullState
    draft: bool
    title: str
    author: str
    head_sha: str
    head_branch: str
    head_repository: str | None
    base_branch: str
    labels: tuple[str, ...]
    url: str
    updated_at: datetime
    repository_id: int | None = None

    @property
    def home(self) -> Repository | None:
        """The repository that it asks to be merged into, if its id is known."""
        return Repository(id=self.repository_id, name=self.repository) if self.repository_id is not None else None

    @property
    def is_fork(self) -> bool:
        """Whether its commits come from another repository than it asks to be merged into."""
        return self.head_repository != self.repository

    @property
    def is_over(self) -> bool:
        """Whether it was closed or merged."""
        return self.state != "open"

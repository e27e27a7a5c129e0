"""What people do at the GitHub of the tests with pull requests, and what they are shown under them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime

from tests.providers.github_answers import Json

_commits = itertools.count(1)


def open_pull(
    repository: Json,
    number: int,
    *,
    title: str = "A change",
    author: str = "shop",
    head: str | None = None,
    draft: bool = False,
    labels: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """One more, of a branch of the repository or of another, `head`; its commit."""
    branch = f"change-{number}"
    add_pull(repository, number, branch, title=title, author=author, head=head, draft=draft, labels=labels)
    return push(repository, number, files or {"new.txt": "new"})


def add_pull(
    repository: Json,
    number: int,
    branch: str,
    *,
    title: str,
    author: str,
    head: str | None = None,
    draft: bool = False,
    labels: tuple[str, ...] = (),
) -> None:
    """One more, whose commit is told with `move`."""
    repository["pulls"][number] = {
        "number": number,
        "title": title,
        "state": "open",
        "draft": draft,
        "author": author,
        "labels": labels,
        "branch": branch,
        "head_repository": head or repository["full_name"],
        "files": {},
        "comments": [],
        "merged_at": None,
    }


def push(repository: Json, number: int, files: Mapping[str, str]) -> str:
    """A new commit; its id."""
    files_now = repository["pulls"][number]["files"] | {name: text.encode() for name, text in files.items()}
    sha = hashlib.sha1(f"{number} {next(_commits)}".encode()).hexdigest()
    move(repository, number, sha, files_now, {"README.md": b"# guestbook\n"})
    return sha


def move(repository: Json, number: int, sha: str, changes: Mapping[str, bytes], others: Mapping[str, bytes]) -> None:
    """Its last commit is this: what all its commits change, and the files that they do not."""
    pull = changed(repository, number)
    pull |= {"sha": sha, "files": dict(changes)}
    repository["commits"][sha] = {**others, **changes}


def close(repository: Json, number: int, *, merge: bool = False) -> None:
    """Closed, or merged."""
    changed(repository, number)["state"] = "closed"
    changed(repository, number)["merged_at"] = "2026-01-01T00:00:00Z" if merge else None


def changed(repository: Json, number: int) -> Json:
    """A pull request, to be changed now."""
    pull: Json = repository["pulls"][number]
    pull["updated_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return pull


def comments_on(repository: Json, number: int, login: str) -> list[str]:
    """What somebody wrote there."""
    return [each["body"] for each in repository["pulls"][number]["comments"] if each["author"] == login]


def status_of(repository: Json, sha: str) -> tuple[str, str]:
    """The last that was said of a commit: its state, and in words; empty if nothing was."""
    said = [each for each in repository["statuses"] if each["sha"] == sha]
    return (said[-1]["state"], said[-1]["description"]) if said else ("", "")

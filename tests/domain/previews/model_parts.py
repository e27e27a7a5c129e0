"""What the model of previews is made of: pull requests as they change at a forge, and environments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from twin.domain.previews.config import SourceConfig
from twin.domain.previews.pull_request import Origin, Preview
from twin.domain.pulls import Pull

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
REPOSITORY = "shop/web"
NUMBERS = (1, 2, 3)
CONFIG = SourceConfig(
    forge="github/main",
    repository=REPOSITORY,
    project="shop",
    blueprint="guestbook",
    excluded_labels=("no-preview",),
    forks="allow",
    ttl=86_400.0,
)


def sha(number: int, push: int) -> str:
    """The commit of a push: tells what it is of."""
    return f"{number:x}{push:039x}"


def origin(number: int) -> Origin:
    return Origin(source="web", forge="github/main", repository=REPOSITORY, number=number, project="shop")


def opened(number: int, push: int) -> Pull:
    """A pull request as it begins, by somebody who means no good; number 3 comes from a fork."""
    return Pull(
        repository=REPOSITORY,
        number=number,
        state="open",
        draft=False,
        title="<script>alert(1)</script>",
        author="eve",
        head_sha=sha(number, push),
        head_branch="../../x; rm -rf",
        head_repository="eve/web" if number == 3 else REPOSITORY,
        base_branch="main",
        labels=(),
        url=f"https://forge.example/{number}",
        updated_at=START,
    )


def change(pull: Pull, what: str, push: int) -> Pull | None:
    """The pull request after something has happened to it; None if that cannot be."""
    match what:
        case "close" | "merge" if pull.state == "open":
            return replace(pull, state="closed" if what == "close" else "merged")
        case "reopen" if pull.state == "closed":
            return replace(pull, state="open")
        case "push":
            return replace(pull, head_sha=sha(pull.number, push))
        case "draft" | "ready":
            return replace(pull, draft=what == "draft")
        case "label":
            return replace(pull, labels=() if pull.labels else ("no-preview",))
        case "rename":
            return replace(pull, title=pull.title + "!", head_branch="other", base_branch="release")
        case "delete":
            return pull
    return None


@dataclass
class Env:
    """An environment as the other entity has it."""

    id: str
    sha: str | None
    status: str = "creating"
    follower_told: bool = False

    def preview(self, number: int) -> Preview:
        return Preview(
            id=self.id,
            name=f"pr-{number}",
            status=self.status,
            sha=self.sha,
            url=f"http://pr-{number}--app.localhost/",
            leaving=self.status == "destroying",
        )

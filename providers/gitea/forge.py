"""Gitea as a forge: the port, call by call."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from providers.gitea import answers
from providers.gitea.client import Client
from providers.gitea.comments import PullComments
from providers.gitea.spec import PROVIDER, Config, Credentials
from twin.domain.errors import Terminal
from twin.domain.pulls import Outcome, Permission, Pull, Repository
from twin.domain.targets import Target
from twin.forges import failures, names, sticky
from twin.forges.configured import read
from twin.forges.limits import MOST_CONTENT, MOST_PATHS, shortened
from twin.forges.listing import Contradiction, Mark, Page, whole
from twin.ports.forge import Comment, Listing, Report

STATES: Mapping[Outcome, str] = {
    "pending": "pending",
    "success": "success",
    "failure": "failure",
    "inactive": "success",  # a commit's status has no word for it, and a preview that has ended hinders no merge
}
PERMISSIONS: Mapping[str, Permission] = {"read": "read", "write": "write", "admin": "admin", "owner": "admin"}


class GiteaForge:
    """One Gitea, seen with one user's token."""

    def __init__(self, name: str, config: Config, credentials: Credentials) -> None:
        self._config = config
        self._client = Client(name, config, credentials)

    async def pull(self, repository: str, number: int) -> Pull | None:
        """See `twin.ports.forge`. Gitea answers null when its own look at the branches fails: that is no answer."""
        found = await self._client.get(answers.PullRequest, repository, f"/pulls/{number}")
        if found is None:
            await self._client.ensure_visible(repository)
            return None
        if found.number != number:
            raise failures.not_understood(self._client.name, f"pull request {found.number} instead of {number}")
        try:
            return found.told(repository)
        except Contradiction as error:
            raise failures.not_understood(self._client.name, str(error)) from None

    async def repository(self, repository: str) -> Repository:
        """See `twin.ports.forge`."""
        found = await self._client.get(answers.Repository, repository, "")
        if found is None:
            raise failures.hidden(self._client.name, repository)
        return found.told(repository)

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        """See `twin.ports.forge`. Gitea knows no conditional requests: all is read, and compared by its digest."""

        async def page(number: int) -> Page[Pull]:
            found = await self._client.page(answers.PullRequest, repository, "/pulls", number, query={"state": "open"})
            if found is None:
                raise await self._client.gone(repository, "list of pull requests")
            pulls = tuple(each.told(repository) for each in found.items)
            if any(pull.is_over for pull in pulls):
                raise Contradiction("it has closed pull requests among the open ones")
            return Page(items=pulls, total=found.total)

        pulls, _ = await whole(f"{self._client.name}, pull requests of {repository}", page, lambda pull: pull.number)
        new = Mark.of(pulls).text()
        return Listing(pulls=None if new == mark else pulls, mark=new)

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        """See `twin.ports.forge`. Both names of what was renamed."""

        class TooMany(Exception):
            pass

        async def page(at: int) -> Page[answers.ChangedFile]:
            found = await self._client.page(answers.ChangedFile, repository, f"/pulls/{number}/files", at)
            if found is None:
                raise await self._client.gone(repository, f"pull request {number}")
            if (found.total or 0) > MOST_PATHS:
                raise TooMany
            return found

        try:
            files, _ = await whole(f"{self._client.name}, files of {repository} {number}", page, lambda f: f.filename)
        except TooMany:
            return None
        return tuple(sorted({name for file in files for name in (file.filename, file.previous_filename) if name}))

    async def comment(self, repository: str, number: int, comment: int) -> Comment | None:
        """See `twin.ports.forge`. 204 is Gitea's word for what is no comment, though it has a comment's id."""
        response = await self._client.call("GET", repository, f"/issues/comments/{comment}")
        if response is None:
            await self._client.ensure_visible(repository)
            return None
        if response.status_code == 204:
            return None
        found = self._client.decoded(response, answers.Comment)
        if found.id != comment:
            raise failures.not_understood(self._client.name, f"comment {found.id} instead of {comment}")
        try:
            return found.told(number)
        except Contradiction as error:
            raise failures.not_understood(self._client.name, str(error)) from None

    async def permission(self, repository: str, login: str) -> Permission:
        """See `twin.ports.forge`. The token's user must be an administrator of the repository to ask."""
        user = names.user(login)
        if user is None:
            return "none"
        found = await self._client.get(answers.Permission, repository, f"/collaborators/{user}/permission")
        if found is None:
            await self._client.ensure_visible(repository)
            return "none"
        return PERMISSIONS.get(found.permission, "none")

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        """See `twin.ports.forge`. What is no file there counts as none; a link is not followed."""
        where = f"/contents/{names.file(path)}"
        response = await self._client.call("GET", repository, where, query={"ref": names.commit(sha)})
        if response is None:
            await self._ensure_commit(repository, sha)
            return None
        if response.content.lstrip()[:1] == b"[":
            return None
        found = self._client.decoded(response, answers.Content)
        if found.type != "file":
            return None
        if found.size > MOST_CONTENT:
            raise Terminal(f"{path} has {found.size} bytes, more than {MOST_CONTENT}", field=path)
        try:
            data = base64.b64decode(found.content or "", validate=False)
        except binascii.Error:
            data = None
        if data is None or found.encoding not in ("base64", None) or len(data) != found.size:
            raise failures.not_understood(self._client.name, f"the content of {path} is not whole")
        return data

    async def _ensure_commit(self, repository: str, sha: str) -> None:
        query = {"stat": "false", "verification": "false", "files": "false"}
        if await self._client.call("GET", repository, f"/git/commits/{sha}", query=query) is None:
            raise await self._client.gone(repository, f"commit {sha}")

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        """See `twin.ports.forge`."""
        return await sticky.put(PullComments(self._client, repository, number), marker, body)

    async def report(self, repository: str, sha: str, report: Report) -> None:
        """See `twin.ports.forge`. Said once: what stands there already is not said again."""
        names.commit(sha)
        wanted = answers.Status(
            status=STATES[report.outcome],
            context=report.context,
            description=shortened(report.summary),
            target_url=report.url or "",
        )
        stand = await self._client.get(answers.Statuses, repository, f"/commits/{sha}/status", query={"limit": 50})
        if stand is None:
            raise await self._client.gone(repository, f"commit {sha}")
        if wanted in (stand.statuses or ()):
            return
        body = {
            "state": wanted.status,
            "context": wanted.context,
            "description": wanted.description,
            "target_url": wanted.target_url,
        }
        said = await self._client.call("POST", repository, f"/statuses/{sha}", body=body)
        if said is None:
            raise await self._client.gone(repository, f"commit {sha}")
        self._client.decoded(said, answers.Status)

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        """Nothing: Gitea has no deployments."""

    def clone_url(self, repository: str) -> str:
        """See `twin.ports.forge`."""
        owner, name = names.parts(repository)
        return f"{self._config.web}/{owner}/{name}.git"

    async def close(self) -> None:
        """See `twin.ports.forge`."""
        await self._client.close()


class GiteaKind:
    """Gitea and Forgejo, before they are configured."""

    name = PROVIDER

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field. No I/O."""
        read(Config, target.config, "config")
        read(Credentials, credentials, "credentials")

    def open(self, target: Target, credentials: Mapping[str, str]) -> GiteaForge:
        """The Gitea of this target."""
        return GiteaForge(
            target.name, read(Config, target.config, "config"), read(Credentials, credentials, "credentials")
        )

"""GitHub as a forge: the port, call by call."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from githubkit.utils import UNSET

from providers.github import answers
from providers.github.client import PER_PAGE, Client
from providers.github.comments import PullComments
from providers.github.deployments import Deployments
from providers.github.spec import Config, Credentials
from twin.domain.errors import Terminal
from twin.domain.pulls import Outcome, Permission, Pull, Repository
from twin.forges import failures, names, sticky
from twin.forges.limits import MOST_CONTENT, MOST_PATHS, shortened
from twin.forges.listing import Contradiction, Mark, Page, whole
from twin.ports.forge import Comment, Listing, Report

STATES: Mapping[Outcome, str] = {
    "pending": "pending",
    "success": "success",
    "failure": "failure",
    "inactive": "success",  # a commit's status has no word for it, and a preview that has ended hinders no merge
}
PERMISSIONS: Mapping[str, Permission] = {"read": "read", "write": "write", "admin": "admin"}
OPEN = {"state": "open", "sort": "created", "direction": "desc"}


class GitHubForge:
    """One GitHub, seen with one token or as one installation of an app."""

    def __init__(self, name: str, config: Config, credentials: Credentials) -> None:
        self._config = config
        self._client = Client(name, config, credentials)

    async def pull(self, repository: str, number: int) -> Pull | None:
        """See `twin.ports.forge`."""
        found = await self._pull_request(repository, number)
        if found is None:
            await self._client.ensure_visible(repository)
            return None
        try:
            return found.told(repository)
        except Contradiction as error:
            raise failures.not_understood(self._client.name, str(error)) from None

    async def _pull_request(self, repository: str, number: int) -> answers.PullRequest | None:
        found = await self._client.get(answers.PullRequest, repository, lambda rest: rest.pulls.async_get, number)
        if found is not None and found.number != number:
            raise failures.not_understood(self._client.name, f"pull request {found.number} instead of {number}")
        return found

    async def repository(self, repository: str) -> Repository:
        """See `twin.ports.forge`."""
        found = await self._client.get(answers.Repository, repository, lambda rest: rest.repos.async_get)
        if found is None:
            raise failures.hidden(self._client.name, repository)
        return found.told(repository)

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        """See `twin.ports.forge`. With a mark, each page is first asked for by its ETag, which costs nothing of the
        rate while nothing has changed."""
        known = Mark.read(mark)
        if mark is not None and known is not None and await self._stands(repository, known.tags):
            return Listing(pulls=None, mark=mark)

        async def page(number: int) -> Page[Pull]:
            found = await self._client.page(
                answers.PullRequest, repository, lambda rest: rest.pulls.async_list, number, **OPEN
            )
            if found is None:
                raise await self._client.gone(repository, "list of pull requests")
            pulls = tuple(each.told(repository) for each in found.items)
            if any(pull.is_over for pull in pulls):
                raise Contradiction("it has closed pull requests among the open ones")
            return Page(items=pulls, promised=found.promised, full=found.full, tag=found.tag)

        what = f"{self._client.name}, pull requests of {repository}"
        pulls, pages = await whole(what, page, lambda pull: pull.number)
        new = Mark.of(pulls, tuple(each.tag for each in pages))
        same = known is not None and known.digest == new.digest
        return Listing(pulls=None if same else pulls, mark=new.text())

    async def _stands(self, repository: str, tags: tuple[str, ...]) -> bool:
        """Whether all pages are as they were. The last one of a listing always has room left, so that nothing can
        have come after it."""
        for number, tag in enumerate(tags, 1):
            response = await self._client.call(
                repository,
                lambda rest: rest.pulls.async_list,
                per_page=PER_PAGE,
                page=number,
                headers={"If-None-Match": tag},
                **OPEN,
            )
            if response is None or response.status_code != 304:
                return False
        return bool(tags)

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        """See `twin.ports.forge`. Both names of what was renamed. GitHub lists 3000 files and counts all."""
        found = await self._pull_request(repository, number)
        if found is None:
            raise await self._client.gone(repository, f"pull request {number}")
        count = found.changed_files
        if count is None:
            raise failures.not_understood(self._client.name, "it does not count the changed files")
        if count > MOST_PATHS:
            return None

        async def page(at: int) -> Page[answers.ChangedFile]:
            files = await self._client.page(
                answers.ChangedFile, repository, lambda rest: rest.pulls.async_list_files, at, number
            )
            if files is None:
                raise await self._client.gone(repository, f"pull request {number}")
            return files

        files, _ = await whole(f"{self._client.name}, files of {repository} {number}", page, lambda f: f.filename)
        if len(files) != count:
            raise failures.not_understood(self._client.name, f"{len(files)} changed files, and it counts {count}")
        return tuple(sorted({name for file in files for name in (file.filename, file.previous_filename) if name}))

    async def comment(self, repository: str, number: int, comment: int) -> Comment | None:
        """See `twin.ports.forge`."""
        found = await self._client.get(answers.Comment, repository, lambda rest: rest.issues.async_get_comment, comment)
        if found is None:
            await self._client.ensure_visible(repository)
            return None
        if found.id != comment:
            raise failures.not_understood(self._client.name, f"comment {found.id} instead of {comment}")
        try:
            return found.told(number)
        except Contradiction as error:
            raise failures.not_understood(self._client.name, str(error)) from None

    async def permission(self, repository: str, login: str) -> Permission:
        """See `twin.ports.forge`."""
        user = names.user(login)
        if user is None:
            return "none"
        found = await self._client.get(
            answers.Permission, repository, lambda rest: rest.repos.async_get_collaborator_permission_level, user
        )
        if found is None:
            await self._client.ensure_visible(repository)
            return "none"
        return PERMISSIONS.get(found.permission, "none")

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        """See `twin.ports.forge`. What is no file there counts as none."""
        response = await self._client.call(
            repository, lambda rest: rest.repos.async_get_content, names.file(path), ref=names.commit(sha)
        )
        if response is None:
            if await self._client.call(repository, lambda rest: rest.git.async_get_commit, sha) is None:
                raise await self._client.gone(repository, f"commit {sha}")
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
        if data is None or found.encoding != "base64" or len(data) != found.size:
            raise failures.not_understood(self._client.name, f"the content of {path} is not whole")
        return data

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        """See `twin.ports.forge`."""
        return await sticky.put(PullComments(self._client, repository, number), marker, body)

    async def report(self, repository: str, sha: str, report: Report) -> None:
        """See `twin.ports.forge`. Said once: what stands there already is not said again, for GitHub takes a thousand
        statuses per commit and context."""
        names.commit(sha)
        wanted = answers.Status(
            state=STATES[report.outcome],
            context=report.context,
            description=shortened(report.summary),
            target_url=report.url,
        )
        stand = await self._client.get(
            answers.Statuses,
            repository,
            lambda rest: rest.repos.async_get_combined_status_for_ref,
            sha,
            per_page=PER_PAGE,
        )
        if stand is None:
            raise await self._client.gone(repository, f"commit {sha}")
        if wanted in stand.statuses:
            return
        said = await self._client.call(
            repository,
            lambda rest: rest.repos.async_create_commit_status,
            sha,
            state=wanted.state,
            context=wanted.context,
            description=wanted.description,
            target_url=UNSET if wanted.target_url is None else wanted.target_url,
        )
        if said is None:
            raise await self._client.not_allowed(repository)
        self._client.decoded(said, answers.Status)

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        """See `twin.ports.forge`."""
        await Deployments(self._client, repository, names.commit(sha), environment).say(report)

    def clone_url(self, repository: str) -> str:
        """See `twin.ports.forge`."""
        owner, name = names.parts(repository)
        return f"{self._config.web}/{owner}/{name}.git"

    async def close(self) -> None:
        """See `twin.ports.forge`."""
        await self._client.close()

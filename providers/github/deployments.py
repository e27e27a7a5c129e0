"""One deployment for each commit and environment, by GitHub's API; none that is active once the environment is gone."""

from __future__ import annotations

from collections.abc import Mapping

from providers.github import answers
from providers.github.client import PER_PAGE, Client
from twin.domain.errors import Transient
from twin.domain.pulls import Outcome
from twin.forges.limits import shortened
from twin.ports.forge import Report

STATES: Mapping[Outcome, str] = {
    "pending": "in_progress",
    "success": "success",
    "failure": "failure",
    "inactive": "inactive",
}


class Deployments:
    """The deployments to one environment that we made; of one commit, unless all are meant."""

    def __init__(self, client: Client, repository: str, sha: str, environment: str) -> None:
        self._client, self._repository, self._sha, self._environment = client, repository, sha, environment

    async def say(self, report: Report) -> None:
        """Have the deployment, and this as its latest status. None is made only to be inactive."""
        wanted = answers.DeploymentStatus(
            state=STATES[report.outcome],
            description=shortened(report.summary),
            environment_url=report.url or "",
        )
        if report.outcome == "inactive":
            await self._end(wanted)
            return
        made = await self._ours(sha=self._sha)
        if not made:
            await self._create()
            made = await self._ours(sha=self._sha)
        if not made:
            raise Transient(f"{self._client.name} does not show the deployment that was made yet")
        await self._settle(made, wanted)

    async def _settle(self, made: list[answers.Deployment], wanted: answers.DeploymentStatus) -> None:
        """One of the same commit is left, and has the status."""
        first, *doubles = made
        for double in doubles:
            await self._remove(double.id)
        if await self._latest(first.id) != wanted:
            await self._post(first.id, wanted)

    async def _end(self, wanted: answers.DeploymentStatus) -> None:
        """Nothing is deployed any more, nor of an earlier commit. GitHub by itself ends those that had succeeded, and
        that only when a later one succeeds: what was before such a one is over already."""
        made = await self._ours()
        mine = [each for each in made if each.sha == self._sha]
        if mine:
            await self._settle(mine, wanted)
        for earlier in reversed([each for each in made if each.sha != self._sha]):
            latest = await self._latest(earlier.id)
            if latest is None or latest.state != wanted.state:
                await self._post(earlier.id, answers.DeploymentStatus(state=wanted.state))
            if latest is not None and latest.state in ("success", wanted.state):
                break

    async def _ours(self, **narrower: str) -> list[answers.Deployment]:
        """Oldest first. All of one commit and environment fit on a page; of an environment's the latest hundred."""
        me = (await self._client.me()).lower()
        found = await self._client.get(
            list[answers.Deployment],
            self._repository,
            lambda rest: rest.repos.async_list_deployments,
            environment=self._environment,
            per_page=PER_PAGE,
            **narrower,
        )
        if found is None:
            raise await self._client.gone(self._repository, "list of deployments")
        ours = (each for each in found if each.creator is not None and each.creator.login.lower() == me)
        return sorted(ours, key=lambda each: each.id)

    async def _create(self) -> None:
        """Of the commit as it is: GitHub is neither to merge the base into it nor to wait for its checks. It is not
        called transient: of those that are not, GitHub ends the earlier ones by itself when the next succeeds."""
        response = await self._client.call(
            self._repository,
            lambda rest: rest.repos.async_create_deployment,
            ref=self._sha,
            environment=self._environment,
            auto_merge=False,
            required_contexts=[],
            transient_environment=False,
            production_environment=False,
        )
        if response is None:
            raise await self._client.not_allowed(self._repository)

    async def _latest(self, deployment: int) -> answers.DeploymentStatus | None:
        found = await self._client.get(
            list[answers.DeploymentStatus],
            self._repository,
            lambda rest: rest.repos.async_list_deployment_statuses,
            deployment,
            per_page=1,
        )
        return found[0] if found else None

    async def _post(self, deployment: int, status: answers.DeploymentStatus) -> None:
        given = {"environment_url": status.environment_url} if status.environment_url else {}
        response = await self._client.call(
            self._repository,
            lambda rest: rest.repos.async_create_deployment_status,
            deployment,
            state=status.state,
            description=status.description,
            auto_inactive=True,
            **given,
        )
        if response is None:
            raise await self._client.not_allowed(self._repository)
        self._client.decoded(response, answers.DeploymentStatus)

    async def _remove(self, deployment: int) -> None:
        """GitHub deletes only what is inactive."""
        await self._post(deployment, answers.DeploymentStatus(state="inactive"))
        await self._client.call(self._repository, lambda rest: rest.repos.async_delete_deployment, deployment)

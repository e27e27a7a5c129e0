"""Environments: asked for, listed, looked at (also as they were), and destroyed."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct, field

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Answer, Body, described, json_answer
from api.http.pages import Page, page_of
from api.http.parameters import (
    After,
    AsOf,
    DryRun,
    EnvironmentIdPath,
    IfNoneMatch,
    Labels,
    Limit,
    NamePath,
    Preview,
    ProjectPath,
    check_preview,
    etag,
    labels_of,
    matches,
    moment,
)
from api.http.signals import ACCEPTED, PLANNED, SIGNAL_PROBLEMS, accepted
from api.services import Services
from twin.domain.environment import Status
from twin.domain.signals.create import Create
from twin.domain.signals.destroy import Destroy
from twin.service.principals import Principal
from twin.service.principals import Request as Asked
from twin.service.views import Accepted, DestructionView, EnvironmentSummary, EnvironmentView, PlanView

Tier = Annotated[str | None, QueryParameter(description="For example preview")]
StatusFilter = Annotated[Status | None, QueryParameter(description="Only those of this status")]
Gone = Annotated[bool, QueryParameter(description="Also those that are destroyed")]

_ONE = described(
    {
        200: json_answer(
            "The environment", EnvironmentView, examples.ENVIRONMENT, {"ETag": "Its version; absent with as_of"}
        ),
        304: Answer(says="It is still at the version that If-None-Match names", headers={"ETag": "Its version"}),
    }
)
_LIST = described(
    {200: json_answer("A page of them", Page[EnvironmentSummary], Page(items=(examples.SUMMARY,), next="WyJuIiwi…"))}
)
_DESTROY = described({202: ACCEPTED}, problems=SIGNAL_PROBLEMS)


class NewEnvironment(Struct, frozen=True, kw_only=True):
    """An environment to be. `blueprint`: `guestbook` for the newest version, or `guestbook@1.0.0`. `ttl`: how long it
    lives, such as `24h` or a number of seconds; without it, what the tier says."""

    name: str
    blueprint: str
    tier: str = "dev"
    inputs: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ttl: str | float | None = None


class ProjectController(Controller):
    """`/v1/projects/{project}/environments`"""

    path = "/v1/projects/{project:str}/environments"
    tags = ("environments",)

    @post(
        "/",
        status_code=202,
        opt=described(
            {202: ACCEPTED, 200: PLANNED},
            body=Body(type=NewEnvironment, examples={"guestbook": examples.NEW_ENVIRONMENT}),
            problems=SIGNAL_PROBLEMS,
        ),
    )
    async def create_environment(
        self,
        request: Request[Any, Any, Any],
        project: ProjectPath,
        services: NamedDependency[Services],
        keyed: NamedDependency[Asked],
        dry_run: DryRun = False,
        preview: Preview = False,
    ) -> Response[Accepted] | Response[PlanView]:
        """Ask for an environment. Needs developer.

        The answer comes at once; the operation tells how the work goes.
        """
        wanted = await read_json(request, NewEnvironment)
        create = Create(
            project=project,
            name=wanted.name,
            blueprint=wanted.blueprint,
            tier=wanted.tier,
            inputs=wanted.inputs,
            labels=wanted.labels,
            ttl=wanted.ttl,
        )
        check_preview(preview=preview, dry_run=dry_run)
        if dry_run:
            plan = await services.twins.dry_run_create(create, keyed, preview=preview)
            return Response(plan, status_code=200)
        return accepted(await services.twins.create(create, keyed))

    @get("/", opt=_LIST)
    async def list_environments_of_project(
        self,
        project: ProjectPath,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        tier: Tier = None,
        status: StatusFilter = None,
        label: Labels = None,
        gone: Gone = False,
        limit: Limit = 100,
        after: After = None,
    ) -> Page[EnvironmentSummary]:
        """The environments of a project."""
        return page_of(
            await services.twins.all(
                asked.by,
                project=project,
                tier=tier,
                status=status,
                labels=labels_of(label),
                gone=gone,
                limit=limit,
                after=after,
            )
        )

    @get("/{name:str}", opt=_ONE)
    async def get_environment_by_name(
        self,
        project: ProjectPath,
        name: NamePath,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        as_of: AsOf = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[EnvironmentView] | Response[None]:
        """The environment of that name, or, if there is none now, the last that had it."""
        view = await services.twins.named(project, name, asked.by)
        return await _shown(services, view, asked.by, as_of, if_none_match)

    @delete("/{name:str}", status_code=202, opt=_DESTROY)
    async def destroy_environment_by_name(
        self,
        project: ProjectPath,
        name: NamePath,
        services: NamedDependency[Services],
        keyed: NamedDependency[Asked],
        expected_version: NamedDependency[int | None],
    ) -> Response[Accepted]:
        """Send the signal `destroy` to the environment of that name. Needs developer."""
        view = await services.twins.named(project, name, keyed.by)
        return accepted(await services.twins.send(view.id, Destroy(), keyed, if_match=expected_version))


class EnvironmentController(Controller):
    """`/v1/environments`"""

    path = "/v1/environments"
    tags = ("environments",)

    @get("/", opt=_LIST)
    async def list_environments(
        self,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        tier: Tier = None,
        status: StatusFilter = None,
        label: Labels = None,
        gone: Gone = False,
        limit: Limit = 100,
        after: After = None,
    ) -> Page[EnvironmentSummary]:
        """The environments of all projects. Needs viewer of all projects."""
        return page_of(
            await services.twins.all(
                asked.by, tier=tier, status=status, labels=labels_of(label), gone=gone, limit=limit, after=after
            )
        )

    @get("/{environment_id:str}", opt=_ONE)
    async def get_environment(
        self,
        environment_id: EnvironmentIdPath,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        as_of: AsOf = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[EnvironmentView] | Response[None]:
        """One environment; its history outlives it, and so does this page."""
        view = await services.twins.get(environment_id, asked.by)
        return await _shown(services, view, asked.by, as_of, if_none_match)

    @get(
        "/{environment_id:str}/certificate",
        opt=described(
            {200: json_answer("The proof, or what is in its way", DestructionView, examples.DESTRUCTION)},
            problems=(409,),
        ),
    )
    async def get_certificate(
        self, environment_id: EnvironmentIdPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> DestructionView:
        """The certificate of destruction; until there is one, what is left over, with owner and mend."""
        return await services.twins.certificate(environment_id, asked.by)

    @delete("/{environment_id:str}", status_code=202, opt=_DESTROY)
    async def destroy_environment(
        self,
        environment_id: EnvironmentIdPath,
        services: NamedDependency[Services],
        keyed: NamedDependency[Asked],
        expected_version: NamedDependency[int | None],
    ) -> Response[Accepted]:
        """Send the signal `destroy`. Needs developer."""
        return accepted(await services.twins.send(environment_id, Destroy(), keyed, if_match=expected_version))


async def _shown(
    services: Services, view: EnvironmentView, by: Principal, as_of: str | None, if_none_match: str | None
) -> Response[EnvironmentView] | Response[None]:
    if (then := moment(as_of, "as_of")) is not None:
        return Response(await services.twins.at(view.id, then, by))
    headers = {"ETag": etag(view.version), "Cache-Control": "private, no-cache"}
    # What running steps say of themselves is no part of the version.
    if matches(if_none_match, headers["ETag"]) and not any(step.progress for step in view.plan.steps):
        return Response(None, status_code=304, headers=headers)
    return Response(view, headers=headers)

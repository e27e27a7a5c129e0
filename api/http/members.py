"""Members: who has a place in a project or an environment, and one person's own credentials."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta, Struct

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Answer, Body, described, json_answer
from api.http.pages import Page, only_page
from api.http.parameters import EnvironmentIdPath, ProjectPath
from api.services import Services
from twin.domain.environment import Role
from twin.service.principals import Request as Asked
from twin.service.views import EnvironmentMemberView, MemberView, PersonalCredentials

PersonPath = Annotated[str, PathParameter(description="For example ada@example.com")]


class NewPlace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's place. `until`: a time, or a span from now such as `8h`; without it, until removed."""

    role: Role = "developer"
    until: Annotated[str | float | None, Meta(description="RFC 3339, or a span such as 8h")] = None


@get(
    "/v1/projects/{project:str}/members",
    tags=["members"],
    opt=described({200: json_answer("By name", Page[MemberView], Page(items=(examples.MEMBER,)))}),
)
async def list_project_members(
    project: ProjectPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> Page[MemberView]:
    """The members of a project, who have a place in each of its environments."""
    return only_page(await services.project_members.all(project, asked.by))


@get(
    "/v1/projects/{project:str}/members/{name:str}",
    tags=["members"],
    opt=described({200: json_answer("The member", MemberView, examples.MEMBER)}),
)
async def get_project_member(
    project: ProjectPath, name: PersonPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> MemberView:
    """One member of a project."""
    return await services.project_members.one(project, name, asked.by)


@put(
    "/v1/projects/{project:str}/members/{name:str}",
    status_code=200,
    tags=["members"],
    opt=described(
        {200: json_answer("The member; a task brings it to the environments", MemberView, examples.MEMBER)},
        body=Body(type=NewPlace, examples={"for a day": {"role": "developer", "until": "24h"}}),
    ),
)
async def set_project_member(
    request: Request[Any, Any, Any],
    project: ProjectPath,
    name: PersonPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> MemberView:
    """Make somebody a member of a project, or change their role or end. Needs operator."""
    wanted = await read_json(request, NewPlace)
    return await services.project_members.set(project, name, asked, role=wanted.role, until=wanted.until)


@delete(
    "/v1/projects/{project:str}/members/{name:str}",
    status_code=204,
    tags=["members"],
    opt=described({204: Answer(says="They are a member no longer; a task takes their access away")}),
)
async def remove_project_member(
    project: ProjectPath, name: PersonPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> None:
    """End a membership, and with it access and open sessions in all environments. Needs operator."""
    await services.project_members.remove(project, name, asked)


@get(
    "/v1/environments/{environment_id:str}/members",
    tags=["members"],
    opt=described(
        {200: json_answer("By name", Page[EnvironmentMemberView], Page(items=(examples.ENVIRONMENT_MEMBER,)))}
    ),
)
async def list_environment_members(
    environment_id: EnvironmentIdPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> Page[EnvironmentMemberView]:
    """Everybody with a place in an environment, whose member they are, and where they have access of their own."""
    return only_page(await services.personal_access.all(environment_id, asked.by))


@post(
    "/v1/environments/{environment_id:str}/members/{name:str}/credentials",
    status_code=200,
    tags=["members"],
    opt=described(
        {
            200: json_answer(
                "Their credentials",
                PersonalCredentials,
                examples.PERSONAL_CREDENTIALS,
                {"Cache-Control": "no-store: never kept on the way"},
            )
        },
        problems=(409,),
    ),
)
async def reveal_personal_credentials(
    environment_id: EnvironmentIdPath,
    name: Annotated[str, PathParameter(description="`me`, or, for an admin, another member's name")],
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> PersonalCredentials:
    """One person's own credentials, as variables. `me` is whose name the token has; recorded."""
    return await services.personal_access.reveal(environment_id, name, asked)

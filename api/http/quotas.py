"""Quotas of projects: how many environments each may have at once."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, put
from litestar.di import NamedDependency
from msgspec import Meta, Struct, field

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Body, described, json_answer
from api.http.parameters import ProjectPath
from api.services import Services
from twin.domain.quotas import MOST, Quotas
from twin.service.principals import Request as Asked
from twin.service.project_quotas import QuotasView

Most = Annotated[int, Meta(ge=0, le=MOST)]


class NewQuotas(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many environments a project may have at once: in all, and of the tiers that are named. What is left out is
    unlimited."""

    max_environments: Most | None = None
    tiers: dict[str, Most] = field(default_factory=dict)


@get(
    "/v1/projects/{project:str}/quotas",
    tags=["projects"],
    opt=described({200: json_answer("The quotas, and how many environments there are", QuotasView, examples.QUOTAS)}),
)
async def get_quotas(
    project: ProjectPath, services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> QuotasView:
    """The quotas of a project. Needs viewer."""
    return await services.quotas.get(project, asked.by)


@put(
    "/v1/projects/{project:str}/quotas",
    status_code=200,
    tags=["projects"],
    opt=described(
        {200: json_answer("The quotas as they are now", QuotasView, examples.QUOTAS)},
        body=Body(
            type=NewQuotas,
            examples={
                "twenty, five of them previews": {"max_environments": 20, "tiers": {"preview": 5}},
                "unlimited": {},
            },
        ),
    ),
)
async def set_quotas(
    request: Request[Any, Any, Any],
    project: ProjectPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> QuotasView:
    """Replace the quotas of a project. They are looked at when an environment is created: fewer than there are destroy
    nothing. Previews that wait for room try again. Needs admin of the platform."""
    wanted = await read_json(request, NewQuotas)
    quotas = Quotas(max_environments=wanted.max_environments, tiers=wanted.tiers)
    return await services.quotas.set(project, quotas, asked)

"""Revealing an environment's credentials; each time is recorded."""

from __future__ import annotations

from typing import Annotated

from litestar import post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http import examples
from api.http.description import described, json_answer
from api.http.parameters import EnvironmentIdPath
from api.services import Services
from twin.service.principals import Request as Asked
from twin.service.views import Credentials


@post(
    "/v1/environments/{environment_id:str}/credentials",
    status_code=200,
    tags=["credentials"],
    opt=described(
        {
            200: json_answer(
                "Its secrets", Credentials, examples.CREDENTIALS, {"Cache-Control": "no-store: never kept on the way"}
            )
        },
        problems=(409,),
    ),
)
async def reveal_credentials(
    environment_id: EnvironmentIdPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
    component: Annotated[str | None, QueryParameter(description="As this component sees them")] = None,
) -> Credentials:
    """The secrets of an environment as variables, as its app sees them. Needs developer; recorded."""
    return await services.revealing.environment(environment_id, asked, component=component)

"""Credentials of an environment: which there are, that one is in use outside, and, recorded, what they say."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta, Struct

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Body, described, json_answer
from api.http.pages import Page
from api.http.parameters import EnvironmentIdPath
from api.http.signals import ACCEPTED, SIGNAL_PROBLEMS, accepted
from api.services import Services
from twin.domain.signals.acknowledge_credential import AcknowledgeCredential
from twin.service.principals import Request as Asked
from twin.service.views import Accepted, Credentials, CredentialView

ComponentPath = Annotated[str, PathParameter(description="For example db")]
VersionPath = Annotated[int, PathParameter(ge=1, description="For example 2")]


class Reveal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why somebody wants to see secrets, and as which component sees them."""

    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Stands in the history")]
    component: Annotated[str | None, Meta(description="As this component sees them")] = None


@get(
    "/v1/environments/{environment_id:str}/credentials",
    tags=["credentials"],
    opt=described(
        {
            200: json_answer(
                "By component and version",
                Page[CredentialView],
                Page(items=(examples.RETIRED_CREDENTIAL, examples.OLD_CREDENTIAL, examples.CREDENTIAL)),
            )
        }
    ),
)
async def list_credentials(
    environment_id: EnvironmentIdPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> Page[CredentialView]:
    """The credentials that live and the last that were retired, without their secrets: their state, who holds them,
    what keeps an old one."""
    return Page(items=await services.revealing.all(environment_id, asked.by))


@post(
    "/v1/environments/{environment_id:str}/credentials/reveal",
    status_code=200,
    tags=["credentials"],
    opt=described(
        {
            200: json_answer(
                "Its secrets", Credentials, examples.CREDENTIALS, {"Cache-Control": "no-store: never kept on the way"}
            )
        },
        body=Body(type=Reveal, examples={"reveal": {"reason": "orders are stuck, INC-4711"}}),
        problems=(409,),
    ),
)
async def reveal_credentials(
    request: Request[Any, Any, Any],
    environment_id: EnvironmentIdPath,
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> Credentials:
    """The secrets of an environment as variables, as its app sees them. Needs developer; recorded with the reason."""
    wanted = await read_json(request, Reveal)
    return await services.revealing.environment(environment_id, asked, reason=wanted.reason, component=wanted.component)


@post(
    "/v1/environments/{environment_id:str}/components/{component:str}/credentials/{version:int}/ack",
    status_code=202,
    tags=["credentials"],
    opt=described({202: ACCEPTED}, problems=SIGNAL_PROBLEMS),
)
async def acknowledge_credential(
    environment_id: EnvironmentIdPath,
    component: ComponentPath,
    version: VersionPath,
    services: NamedDependency[Services],
    keyed: NamedDependency[Asked],
    expected_version: NamedDependency[int | None],
) -> Response[Accepted]:
    """A consumer outside of the environment uses this credential: the one before it need not stay for its sake."""
    signal = AcknowledgeCredential(component=component, version=version)
    return accepted(await services.twins.send(environment_id, signal, keyed, if_match=expected_version))

"""Targets: the places that components are provisioned into."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta, Struct, field

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Answer, Body, described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.domain.targets import Target
from twin.service.principals import Request as Asked
from twin.service.views import TargetView


class NewTarget(Struct, frozen=True, kw_only=True):
    """A target as asked for; `name` is PROVIDER/PLACE. Its credentials go to the vault and are never shown again."""

    name: str
    provider: str
    config: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    default: bool = True
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 4
    rate: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class TargetController(Controller):
    """`/v1/targets`"""

    path = "/v1/targets"
    tags = ("targets",)

    @get("/", opt=described({200: json_answer("All of them", Page[TargetView], Page(items=(examples.TARGET,)))}))
    async def list_targets(
        self, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> Page[TargetView]:
        """All targets, without their credentials."""
        return only_page(await services.targets.all(asked.by))

    @post(
        "/",
        status_code=201,
        opt=described(
            {201: json_answer("The target, without its credentials", TargetView, examples.TARGET)},
            body=Body(type=NewTarget, examples={"PostgreSQL": examples.NEW_TARGET}),
            problems=(404, 409),
        ),
    )
    async def put_target(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> TargetView:
        """Add or replace a target. Needs admin. The server is not contacted."""
        given = await read_json(request, NewTarget)
        target = Target(
            name=given.name,
            provider=given.provider,
            config=given.config,
            projects=given.projects,
            tiers=given.tiers,
            default=given.default,
            concurrency=given.concurrency,
            rate=given.rate,
        )
        return await services.targets.put(target, given.credentials, asked)

    @delete(
        "/{provider:str}/{place:str}",
        status_code=204,
        opt=described({204: Answer(says="It is removed")}, problems=(409,)),
    )
    async def remove_target(
        self,
        provider: Annotated[str, PathParameter(description="For example postgres")],
        place: Annotated[str, PathParameter(description="For example eu-prod")],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> None:
        """Remove a target that no living environment stands on. Needs admin."""
        await services.targets.remove(f"{provider}/{place}", asked)

"""Blueprints: published versions of what environments are made of."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from api.http import examples
from api.http.bodies import GZIP, read_body
from api.http.description import Body, described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.service.principals import Request as Asked
from twin.service.views import BlueprintView

BlueprintName = Annotated[str, PathParameter(description="For example guestbook")]
_LOCATION = {"Location": "Where the version is"}


class BlueprintController(Controller):
    """`/v1/blueprints`"""

    path = "/v1/blueprints"
    tags = ("blueprints",)

    @post(
        "/",
        status_code=201,
        opt=described(
            {
                201: json_answer("Published", BlueprintView, examples.BLUEPRINT, _LOCATION),
                200: json_answer(
                    "This very version was published before", BlueprintView, examples.BLUEPRINT, _LOCATION
                ),
            },
            body=Body(type=None, media_type=GZIP),
            problems=(404, 409),
        ),
    )
    async def publish_blueprint(
        self, request: Request[Any, Any, Any], services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> Response[BlueprintView]:
        """Publish a folder, packed as a tar.gz with blueprint.yaml at its top. Needs operator.

        A published version never changes: another content under the same version is a conflict.
        """
        published = await services.blueprints.publish(await read_body(request, GZIP), asked)
        view = published.blueprint
        return Response(
            view,
            status_code=201 if published.fresh else 200,
            headers={"Location": f"/v1/blueprints/{view.name}/{view.version}"},
        )

    @get(
        "/",
        opt=described({200: json_answer("Newest first", Page[BlueprintView], Page(items=(examples.BLUEPRINT,)))}),
    )
    async def list_blueprints(
        self,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        name: Annotated[str | None, QueryParameter(description="Only versions of this blueprint")] = None,
    ) -> Page[BlueprintView]:
        """All published versions."""
        return only_page(await services.blueprints.all(asked.by, name))

    @get("/{name:str}", opt=described({200: json_answer("The newest", BlueprintView, examples.BLUEPRINT)}))
    async def get_blueprint(
        self, name: BlueprintName, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> BlueprintView:
        """The version of a blueprint that was published last."""
        return await services.blueprints.get(name, None, asked.by)

    @get(
        "/{name:str}/{version:str}",
        opt=described({200: json_answer("That version", BlueprintView, examples.BLUEPRINT)}),
    )
    async def get_blueprint_version(
        self,
        name: BlueprintName,
        version: Annotated[str, PathParameter(description="For example 1.0.0")],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> BlueprintView:
        """One version of a blueprint."""
        return await services.blueprints.get(name, version, asked.by)

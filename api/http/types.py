"""Component types: what blueprints may use."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from api.http import examples
from api.http.description import described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.domain.component_type import ComponentType
from twin.service.principals import Request as Asked


@get(
    "/v1/types",
    tags=["types"],
    opt=described({200: json_answer("All of them", Page[ComponentType], Page(items=(examples.TYPE,)))}),
)
async def list_types(services: NamedDependency[Services], asked: NamedDependency[Asked]) -> Page[ComponentType]:
    """Every component type that the installed providers offer, with the JSON Schema of its inputs."""
    return only_page(services.blueprints.types(asked.by))

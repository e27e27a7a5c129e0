"""Blocks: reasons to wait for a human."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Body, described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.service.principals import Request as Asked
from twin.service.views import BlockView


class Resolution(Struct, frozen=True):
    """The cause of this block is mended."""

    key: str


class Resolved(Struct, frozen=True):
    """How many environments go on."""

    key: str
    woken: int


class BlockController(Controller):
    """`/v1/blocks`"""

    path = "/v1/blocks"
    tags = ("blocks",)

    @get("/", opt=described({200: json_answer("Oldest first", Page[BlockView], Page(items=(examples.BLOCK,)))}))
    async def list_blocks(
        self,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
        all: Annotated[bool, QueryParameter(description="Also those that are resolved")] = False,  # noqa: A002
    ) -> Page[BlockView]:
        """Blocks with their owner, the mend, and the environments they stop."""
        return only_page(await services.blocks.all(asked.by, open_only=not all))

    @post(
        "/resolutions",
        status_code=200,
        opt=described(
            {200: json_answer("Every environment that it stopped goes on", Resolved, Resolved(examples.BLOCK.key, 3))},
            body=Body(type=Resolution, examples={"mended": {"key": examples.BLOCK.key}}),
            problems=(404,),
        ),
    )
    async def resolve_block(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> Resolved:
        """Say that the cause of a block is mended. Needs operator."""
        key = (await read_json(request, Resolution)).key
        return Resolved(key, await services.blocks.resolve(key, asked))

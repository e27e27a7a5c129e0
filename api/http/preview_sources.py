"""Preview sources: the repositories whose pull requests get environments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Controller, Request, delete, get, put
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta, Struct, field

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Body, described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.domain.durations import parse_duration
from twin.domain.previews.config import CloneFrom, SourceConfig
from twin.service.previews.sources import PullView, SourceView
from twin.service.principals import Request as Asked

Name = Annotated[str, PathParameter(description="For example guestbook")]


class NewSource(Struct, frozen=True, kw_only=True):
    """A repository's previews, each made of `blueprint`, or as a clone of an environment (`clone_from`).

    Inputs may say `${pr.number}`, `${pr.sha}` and `${pr.branch}`. `component` runs the pull request's commit. Times are
    a number of seconds or a text such as `24h`; `idle_ttl` counts from the last push or command. A changed path must
    match one of `paths`. `repository_inputs` are those that the repository's own `.twin/preview.yaml` may set.
    """

    forge: str
    repository: str
    project: str
    blueprint: str | None = None
    clone_from: CloneFrom | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    repository_inputs: tuple[str, ...] = ()
    component: str = "app"
    prefix: str = "pr"
    ttl: str | float | None = None
    idle_ttl: str | float | None = None
    paths: tuple[str, ...] = ()
    needed_labels: tuple[str, ...] = ()
    excluded_labels: tuple[str, ...] = ()
    drafts: bool = False
    max_live: Annotated[int, Meta(ge=1, le=1000)] = 5
    forks: Literal["never", "allow"] = "never"
    reconcile_every: str | float = 300.0


def config_of(given: NewSource) -> SourceConfig:
    """With times in seconds. Raises `Invalid` naming the field."""
    plain = {name: getattr(given, name) for name in given.__struct_fields__}
    for name in ("ttl", "idle_ttl", "reconcile_every"):
        if plain[name] is not None:
            plain[name] = parse_duration(plain[name], name)
    return SourceConfig(**plain)


class PreviewSourceController(Controller):
    """`/v1/preview-sources`"""

    path = "/v1/preview-sources"
    tags = ("previews",)

    @get(
        "/",
        opt=described(
            {200: json_answer("By name", Page[SourceView], Page(items=(examples.SOURCE,)))},
        ),
    )
    async def list_preview_sources(
        self, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> Page[SourceView]:
        """The preview sources of the projects that you may see."""
        return only_page(await services.preview_sources.all(asked.by))

    @get("/{name:str}", opt=described({200: json_answer("The source", SourceView, examples.SOURCE)}, problems=(404,)))
    async def get_preview_source(
        self, name: Name, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> SourceView:
        """One preview source, with the pull requests that live and those that wait for a slot."""
        return await services.preview_sources.get(name, asked.by)

    @get(
        "/{name:str}/pulls",
        opt=described({200: json_answer("By number", Page[PullView], Page(items=(examples.PULL,)))}, problems=(404,)),
    )
    async def list_pulls(
        self, name: Name, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> Page[PullView]:
        """The pull requests that have a preview or wait for one."""
        return only_page(await services.preview_sources.pulls(name, asked.by))

    @put(
        "/{name:str}",
        opt=described(
            {200: json_answer("The source as it is now", SourceView, examples.SOURCE)},
            body=Body(type=NewSource, examples={"a blueprint": examples.NEW_SOURCE}),
        ),
    )
    async def put_preview_source(
        self,
        request: Request[Any, Any, Any],
        name: Name,
        services: NamedDependency[Services],
        asked: NamedDependency[Asked],
    ) -> SourceView:
        """Configure a preview source, new or not. Needs operator of its project. Its open pull requests are looked at
        at once."""
        return await services.preview_sources.put(name, config_of(await read_json(request, NewSource)), asked)

    @delete(
        "/{name:str}",
        status_code=200,
        opt=described({200: json_answer("It is being removed", SourceView, examples.SOURCE)}, problems=(404,)),
    )
    async def remove_preview_source(
        self, name: Name, services: NamedDependency[Services], asked: NamedDependency[Asked]
    ) -> SourceView:
        """End all of its previews. Needs operator of its project."""
        return await services.preview_sources.remove(name, asked)

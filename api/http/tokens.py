"""Tokens: made, listed, revoked; and whom one stands for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter
from msgspec import Meta, Struct

from api.http import examples
from api.http.bodies import read_json
from api.http.description import Answer, Body, described, json_answer
from api.http.pages import Page, only_page
from api.services import Services
from twin.domain.durations import parse_duration
from twin.domain.identity import NAME_PATTERN
from twin.service.principals import Request as Asked
from twin.service.views import TokenView

Role = Literal["viewer", "developer", "operator", "auditor", "admin"]
Where = Annotated[str, Meta(pattern=rf"{NAME_PATTERN}|^\*$")]

Pair = Annotated[tuple[str, ...], Meta(min_length=2, max_length=2)]
"""A project and a role; `tuple[str, str]` says the same in words that too few tools understand (prefixItems)."""


class NewToken(Struct, frozen=True, kw_only=True):
    """Who will use it (the history goes by this name, so it is one token's alone), and what they may do: pairs of a
    project (`*` for all) and a role. `ttl` such as `24h`."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][-_.@A-Za-z0-9]{0,99}$")]
    roles: Annotated[tuple[tuple[Where, Role], ...], Meta(min_length=1)]
    ttl: str | float | None = None


class CreatedToken(Struct, frozen=True, kw_only=True):
    """The token, shown only here."""

    token: str
    name: str
    roles: tuple[Pair, ...]
    expires_at: datetime | None = None


class Me(Struct, frozen=True):
    """Who a token stands for."""

    name: str
    roles: tuple[Pair, ...]


_ROLES = (("shop", "developer"),)
_CREATED = CreatedToken(token="twin_…", name="ci", roles=_ROLES)  # noqa: S106 - no token


@post(
    "/v1/tokens",
    status_code=201,
    tags=["tokens"],
    opt=described(
        {201: json_answer("The token; it cannot be shown again", CreatedToken, _CREATED)},
        body=Body(type=NewToken, examples={"for CI": {"name": "ci", "roles": [["shop", "developer"]], "ttl": "30d"}}),
        problems=(409,),
    ),
)
async def create_token(
    request: Request[Any, Any, Any], services: NamedDependency[Services], asked: NamedDependency[Asked]
) -> CreatedToken:
    """Make a token. Needs admin."""
    wanted = await read_json(request, NewToken)
    now = services.clock.now()
    expires_at = None if wanted.ttl is None else now + timedelta(seconds=parse_duration(wanted.ttl, "ttl"))
    token = await services.tokens.create(wanted.name, wanted.roles, asked, now=now, expires_at=expires_at)
    return CreatedToken(token=token, name=wanted.name, roles=wanted.roles, expires_at=expires_at)


@get(
    "/v1/tokens",
    tags=["tokens"],
    opt=described({200: json_answer("All of them", Page[TokenView], Page(items=(examples.TOKEN,)))}),
)
async def list_tokens(services: NamedDependency[Services], asked: NamedDependency[Asked]) -> Page[TokenView]:
    """All tokens by name, also those that have expired; never the tokens themselves. Needs admin."""
    return only_page(await services.tokens.all(asked.by))


@delete(
    "/v1/tokens/{name:str}",
    status_code=204,
    tags=["tokens"],
    opt=described({204: Answer(says="It is revoked")}, problems=(409,)),
)
async def revoke_token(
    name: Annotated[str, PathParameter(description="For example ci")],
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
) -> None:
    """End a token at once; its name is free again. Needs admin. The last admin's token stays."""
    await services.tokens.revoke(name, asked)


@get("/v1/me", tags=["tokens"], opt=described({200: json_answer("You", Me, Me("ci", _ROLES))}))
async def who_am_i(asked: NamedDependency[Asked]) -> Me:
    """Who the token of this request stands for."""
    return Me(asked.by.name, asked.by.roles)

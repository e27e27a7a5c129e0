"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency
from msgspec import Struct

from api.http.description import described, json_answer
from api.services import Services


class Health(Struct, frozen=True):
    """One word."""

    status: str


@get("/healthz", tags=["health"], opt=described({200: json_answer("It lives", Health, Health("alive"))}, public=True))
async def healthy() -> Health:
    """Whether the process answers; says nothing of what it needs."""
    return Health("alive")


@get(
    "/readyz",
    tags=["health"],
    opt=described({200: json_answer("It can do its work", Health, Health("ready"))}, problems=(503,), public=True),
)
async def ready(services: NamedDependency[Services]) -> Health:
    """Whether the service can do its work: the database answers and, unless it is told not to work, its worker runs."""
    await services.ready()
    return Health("ready")

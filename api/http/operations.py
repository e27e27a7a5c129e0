"""Operations: how an accepted signal is getting on."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from api.http import examples
from api.http.description import described, json_answer
from api.http.streams import Stopping
from api.services import Services
from twin.service.principals import Request as Asked
from twin.service.views import OperationView


@get(
    "/v1/operations/{operation_id:str}",
    tags=["operations"],
    opt=described({200: json_answer("As it is now", OperationView, examples.OPERATION)}),
)
async def get_operation(
    operation_id: Annotated[str, PathParameter(description="For example op_01JZX4T2M8Q3V5W7Y9A1B3C5D7")],
    services: NamedDependency[Services],
    asked: NamedDependency[Asked],
    stopping: NamedDependency[Stopping],
    wait: Annotated[float, QueryParameter(ge=0, le=60, description="Answer when it has ended, at most so late")] = 0.0,
) -> OperationView:
    """An operation; with `wait`, as soon as it has ended, or after that many seconds as it then is."""
    ended = await stopping.or_stopped(services.twins.operation(operation_id, asked.by, wait=wait))
    return ended or await services.twins.operation(operation_id, asked.by)

"""Signals: everything that is asked of an environment goes through here."""

from __future__ import annotations

from typing import Any, Union

from litestar import Request, Response, post
from litestar.di import NamedDependency

from api.http import examples
from api.http.bodies import read_object
from api.http.description import Body, described, json_answer
from api.http.parameters import DryRun, EnvironmentIdPath, Preview, check_preview
from api.services import Services
from twin.domain.signals import BY_NAME, parse
from twin.domain.signals.create import Create
from twin.service.principals import Request as Asked
from twin.service.views import Accepted, PlanView

ACCEPTED = json_answer(
    "Accepted: the operation tells how the work goes",
    Accepted,
    examples.ACCEPTED,
    {"Location": "The operation, for example /v1/operations/op_01JZX4T2M8Q3V5W7Y9A1B3C5D7"},
)
PLANNED = json_answer("With dry_run: the plan that it would lead to", PlanView, examples.PREVIEWED)
SIGNAL_PROBLEMS = (404, 409, 412)

SentSignal: Any = Union[tuple(struct for struct in BY_NAME.values() if struct is not Create)]  # noqa: UP007


def accepted(done: Accepted) -> Response[Accepted]:
    """202, and where the operation is."""
    return Response(done, status_code=202, headers={"Location": f"/v1/operations/{done.operation.id}"})


@post(
    "/v1/environments/{environment_id:str}/signals",
    status_code=202,
    tags=["signals"],
    opt=described(
        {202: ACCEPTED, 200: PLANNED},
        body=Body(type=SentSignal, examples=examples.SIGNALS),
        problems=SIGNAL_PROBLEMS,
    ),
)
async def send_signal(
    request: Request[Any, Any, Any],
    environment_id: EnvironmentIdPath,
    services: NamedDependency[Services],
    keyed: NamedDependency[Asked],
    expected_version: NamedDependency[int | None],
    dry_run: DryRun = False,
    preview: Preview = False,
) -> Response[Accepted] | Response[PlanView]:
    """Send a signal; it is accepted at any time, also in the middle of work."""
    signal = parse(await read_object(request))
    check_preview(preview=preview, dry_run=dry_run)
    if dry_run:
        plan = await services.twins.dry_run(environment_id, signal, keyed, preview=preview)
        return Response(plan, status_code=200)
    return accepted(await services.twins.send(environment_id, signal, keyed, if_match=expected_version))

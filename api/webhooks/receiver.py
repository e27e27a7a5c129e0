"""Where forges deliver. Nothing of a delivery is parsed here: it is measured, its signature is checked, it is kept.

No token is asked for: the signature tells a forge of ours from a stranger, who changes nothing, and learns nothing,
not even which targets there are: at one that is not there, no signature is right.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Annotated, Any

from litestar import Request, Router, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import PathParameter
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE
from msgspec import Struct

from api.http.description import Body, described, json_answer
from api.http.problems import Malformed
from api.services import Services
from api.webhooks.form import Form
from api.webhooks.forms import FORMS
from twin.domain.errors import NotFound, Problem, Unauthenticated
from twin.service.inboxes import LARGE, WEBHOOK_SECRET, Delivered

PATIENCE = 30.0
"""Seconds that a sender has for the body; GitHub gives up after ten."""

_LARGE_AT_ONCE = 4

_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EVENT = re.compile(r"[a-z0-9_]{1,64}")


class TooSlow(Problem):
    """A body that did not come to its end in time."""

    code = "too_slow"
    status = 408
    retryable = True


class Taken(Struct, frozen=True):
    """The id of the delivery; `new` is false if it came before, which changes nothing."""

    delivery: str
    new: bool


class Room:
    """What strangers may take of the service's memory and time: so many `large` bodies at once, while more wait, and so
    many seconds for each."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.large = asyncio.Semaphore(_LARGE_AT_ONCE)


def webhooks(services: Services, *, patience: float = PATIENCE) -> Router:
    """The routes that forges deliver to."""
    room = Room(patience)
    router = Router(
        "/webhooks",
        route_handlers=[take_delivery],
        dependencies={"room": Provide(lambda: room, sync_to_thread=False)},
    )
    router.request_max_body_size = services.settings.max_delivery_bytes
    return router


@post(
    "/{kind:str}/{place:str}",
    status_code=202,
    tags=["webhooks"],
    opt=described(
        {202: json_answer("Taken; the work follows", Taken, Taken("72d3162e-cc78-11e3-81ab-4c9367dc0958", True))},
        body=Body(type=dict[str, Any], examples={"whatever the forge sends": {"action": "opened", "number": 42}}),
        problems=(401, 404, 408, 503),
        public=True,
    ),
)
async def take_delivery(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    room: NamedDependency[Room],
    kind: Annotated[str, PathParameter(description="The kind of forge: github or gitea")],
    place: Annotated[str, PathParameter(description="The place of its target: main, if that is named github/main")],
) -> Taken:
    """Take what a forge's webhook delivers. Signed with the secret of the forge's target; needs no token."""
    target = f"{kind}/{place}"
    if kind not in FORMS:
        problem = NotFound(f"no kind of forge is {kind[:50]!r}", field="kind", mend=f"It is one of {', '.join(FORMS)}.")
        await _record(request, services, target, problem.message, known=False)
        raise problem
    secret, missing = await _secret(services, target)
    try:
        async with AsyncExitStack() as stack:
            _check_signed(request, FORMS[kind], target)
            body = await _body(request, room, stack)
            delivered = await _checked(request, FORMS[kind], secret, target, body)
            taken = Taken(delivered.id, await services.inboxes.take(delivered))
    except (Unauthenticated, Malformed, TooSlow) as problem:
        await _record(request, services, target, missing or problem.message, known=missing is None)
        raise
    except HTTPException as error:
        if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
            most = services.settings.max_delivery_bytes
            why = missing or f"its body is larger than {most} bytes"
            await _record(request, services, target, why, known=missing is None)
        raise
    if not taken.new:
        sender, request_id = _sender(request)
        await services.refusals.of_repetition(target, taken.delivery, sender=sender, request_id=request_id)
    return taken


async def _secret(services: Services, target: str) -> tuple[str, str | None]:
    """What its deliveries are signed with. Where none are taken: what nobody knows, and why that is so."""
    nobody_s = token_hex()
    if "\0" in target:  # which no database is asked for
        return nobody_s, "no target is named like that"
    try:
        return await services.inboxes.secret(target), None
    except NotFound as problem:
        return nobody_s, problem.message


async def _body(request: Request[Any, Any, Any], room: Room, stack: AsyncExitStack) -> bytes:
    """The body, as far as it is not too large; that is noticed while it comes in."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(room.patience):
            async for part in request.stream():
                if size <= LARGE < size + len(part):
                    await stack.enter_async_context(room.large)
                parts.append(part)
                size += len(part)
    except TimeoutError:
        raise TooSlow(f"the body did not come to its end within {room.patience:g} s") from None
    except HTTPException as error:
        if error.status_code < 500:
            raise
        raise Malformed("the body ended early") from None  # whoever sent it has left
    return b"".join(parts)


def _check_signed(request: Request[Any, Any, Any], form: Form, target: str) -> None:
    """Refuse what has no signature at all before its body is read."""
    if not request.headers.get(form.signature.header):
        raise _unsigned(form, target)


def _unsigned(form: Form, target: str) -> Unauthenticated:
    return Unauthenticated(
        "its signature is missing or wrong",
        field=form.signature.header,
        mend=f"Give the webhook on the forge the {WEBHOOK_SECRET} of the target {target}, which must have one.",
    )


async def _checked(request: Request[Any, Any, Any], form: Form, secret: str, target: str, body: bytes) -> Delivered:
    """The delivery, if it is signed and says what it is."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    fits = form.signature.fits
    right = fits(secret, headers, body) if len(body) < LARGE else await asyncio.to_thread(fits, secret, headers, body)
    if not right:
        raise _unsigned(form, target)
    for name, pattern in ((form.delivery, _ID), (form.event, _EVENT)):
        if pattern.fullmatch(headers.get(name, "")) is None:
            raise Malformed(f"{name} is missing or odd", field=name, mend="Have the forge itself deliver.")
    return Delivered(
        target=target, id=headers[form.delivery], event=headers[form.event], headers=form.headers(headers), body=body
    )


async def _record(request: Request[Any, Any, Any], services: Services, target: str, why: str, *, known: bool) -> None:
    sender, request_id = _sender(request)
    await services.refusals.of_stranger(target, why, known=known, sender=sender, request_id=request_id)


def _sender(request: Request[Any, Any, Any]) -> tuple[str, str]:
    """The address that it came from, and the id of the request."""
    sender = request.client.host if request.client is not None else "unknown"
    return sender, request.scope["state"]["request_id"]

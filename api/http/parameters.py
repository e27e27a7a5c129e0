"""Parameters that several routes take, and how their text becomes values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec.enums import OpenAPIFormat
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import Meta

from api.services import Services
from twin.domain.errors import Invalid
from twin.domain.near import suggestion
from twin.service.principals import Principal
from twin.service.principals import Request as Asked

Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="The most items that the page holds")]
After = Annotated[str | None, QueryParameter(description="The `next` of the page before")]
DryRun = Annotated[bool, QueryParameter(description="Answer with the plan and change nothing")]
Preview = Annotated[
    bool,
    QueryParameter(
        description="With dry_run: ask the providers, too, what each apply would change, resource by resource, where "
        "they can tell. Takes as long as they take, at most 90 seconds"
    ),
]
AsOf = Annotated[
    str | None,
    QueryParameter(format=OpenAPIFormat.DATE_TIME, description="The environment as it was then (RFC 3339)"),
]
Since = Annotated[str | None, QueryParameter(format=OpenAPIFormat.DATE_TIME, description="From then on (RFC 3339)")]
Until = Annotated[str | None, QueryParameter(format=OpenAPIFormat.DATE_TIME, description="Before then (RFC 3339)")]
Labels = Annotated[list[str] | None, QueryParameter(description="`key=value`; may be given several times")]
EnvironmentIdPath = Annotated[str, PathParameter(description="For example env_01JZX4T2M8Q3V5W7Y9A1B3C5D7")]
ProjectPath = Annotated[str, PathParameter(description="For example shop")]
NamePath = Annotated[str, PathParameter(description="For example dev")]

_KEY = "Idempotency-Key"
_KEY_PATTERN = r"^[!-~]{1,255}$"
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name=_KEY,
        description="The same key and body again is the same operation, for 24 hours",
        schema_extra={"pattern": _KEY_PATTERN},
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="Only if the environment is still at the version of this ETag",
        schema_extra={"pattern": r'^(\*|"[0-9]{1,18}")$'},
    ),
]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="304 if the environment still has this ETag")
]

_Moment = Annotated[datetime, Meta(tz=True)]


def moment(text: str | None, field: str) -> datetime | None:
    """An RFC 3339 time in UTC; raises `Invalid`."""
    if text is None:
        return None
    try:
        return msgspec.convert(text, _Moment).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise Invalid(
            f"{field} is {text!r}, which is not a time with its zone",
            field=field,
            mend="Write it like 2026-01-05T09:00:00Z, or 2026-01-05T10:00:00%2B01:00 (a + in an address is a space).",
        ) from None


def labels_of(pairs: list[str] | None) -> dict[str, str] | None:
    """`["team=a"]` as `{"team": "a"}`; raises `Invalid`."""
    labels: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Invalid(f"label is {pair!r}", field="label", mend="Write it like label=team=payments.")
        labels[key] = value
    return labels or None


def check_preview(*, preview: bool, dry_run: bool) -> None:
    """Raise `Invalid` for a preview of what is to be done at once."""
    if preview and not dry_run:
        raise Invalid("preview is for dry runs", field="preview", mend="Send dry_run=true with it, or leave it out.")


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether If-None-Match names the tag; weak comparison, as RFC 9110 wants here."""
    if if_none_match is None:
        return False
    named = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag in named or "*" in named


# Dependencies follow each other in a chain: those that could be resolved side by side, Litestar gives a group of tasks,
# which costs more than all of ours.


def expected_version(keyed: NamedDependency[Asked], if_match: IfMatch = None) -> int | None:
    """Dependency: the version that If-Match names; None for any."""
    if if_match is None or if_match.strip() == "*":
        return None
    if found := re.fullmatch(r'"([0-9]{1,18})"', if_match.strip()):
        return int(found[1])
    raise Invalid(
        f"If-Match is {if_match!r}", field="If-Match", mend='Send the ETag of the environment as it was: "7", or *.'
    )


def asked(request: Request[Principal, Any, Any], services: NamedDependency[Services]) -> Asked:
    """Dependency: who asks, under which request id."""
    return Asked(request.user, request.scope["state"]["request_id"])


def keyed(asked: NamedDependency[Asked], idempotency_key: IdempotencyKey = None) -> Asked:
    """Dependency: as `asked`, with the Idempotency-Key."""
    if idempotency_key is not None and re.fullmatch(_KEY_PATTERN, idempotency_key) is None:
        raise Invalid(f"{_KEY} is not 1 to 255 printable characters without spaces", field=_KEY, mend="Send a UUID.")
    return Asked(asked.by, asked.id, idempotency_key)


async def refuse_unknown(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: a misspelt `dryrun=true` must not be taken for a real request."""
    if handler.opt.get("public"):
        return
    known = _known(handler)
    for name, value in connection.query_params.multi_items():
        if name not in known:
            raise Invalid(f"{name}: there is no such parameter", field=name, mend=suggestion(name, known))
        if "\0" in str(value):
            raise Invalid(f"{name} holds a NUL character", field=name, mend="Leave it out.")
    for name, value in connection.path_params.items():
        if "\0" in str(value):
            raise Invalid(f"{name} holds a NUL character", field=name, mend="Leave it out.")


@lru_cache(maxsize=256)
def _known(handler: BaseRouteHandler) -> frozenset[str]:
    parameters = handler.parsed_fn_signature.parameters.values()
    return frozenset(
        field.kwarg_definition.name or field.name
        for field in parameters
        if isinstance(field.kwarg_definition, QueryParameter)
    )

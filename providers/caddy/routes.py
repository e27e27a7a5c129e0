"""A component's route in Caddy's configuration: how it is written, found again, and told from one changed by hand.

Caddy keeps no comments, so what is ours stands in a `vars` handler, which does nothing to a request: the environment's
mark, the inputs, and a digest over all the rest of the route.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from providers.caddy import accounts, doors
from providers.caddy.accounts import NOBODY, Accounts
from providers.caddy.client import JsonRoute
from providers.caddy.spec import Route
from twin.domain.errors import Terminal
from twin.domain.identity import ComponentRef, EnvironmentId, ownership_mark, physical_name

NOTE = "twin"
"""The variable that holds what is ours."""

TRY_FOR = "10s"
"""How long a request waits for an upstream to be there, should all be away for a moment."""


def written(ref: ComponentRef, route: Route, let_in: Accounts = NOBODY) -> JsonRoute:
    """The route as Caddy is to have it; with access `basic`, for those who are let in."""
    note: dict[str, Any] = {
        "name": ref.name,
        "mark": ref.mark,
        "inputs": noted(route),
        "accounts": accounts.noted(let_in),
    }
    made: JsonRoute = {
        "@id": ref.name,
        "match": [{"host": [route.host]}],
        "handle": [
            {"handler": "vars", NOTE: note},
            *([accounts.handler(let_in, route.host)] if route.access == "basic" else []),
            *(doors.handlers(ref, route) if route.access == "token" else []),
            _proxy(route) if route.to else _nobody(),
        ],
        "terminal": True,
    }
    note["digest"] = digest(made)
    return made


def noted(route: Route) -> dict[str, Any]:
    """What of the inputs is told, and compared, field by field; under the inputs' own names."""
    return {
        "host": route.host,
        "to": [f"{'https' if route.secure else 'http'}://{each}" for each in route.to],
        "access": f"token, asked of {route.twin}" if route.access == "token" else route.access,
        "health": f"{route.health.path} each {route.health.interval:g} s",
    }


def note_of(route: JsonRoute) -> dict[str, Any]:
    """What stands in a route of ours; empty for others'."""
    for handler in _handlers(route):
        if handler.get("handler") == "vars" and isinstance(note := handler.get(NOTE), dict):
            return note
    return {}


def is_of(route: JsonRoute, name: str) -> bool:
    """Whether it is the component's, by its id or, should that have been taken off, by the note."""
    return route.get("@id") == name or note_of(route).get("name") == name


def is_in(route: JsonRoute, environment: EnvironmentId) -> bool:
    """Whether it is the environment's, by the mark or, should that have been taken off, by its name."""
    prefix = physical_name(environment, "", 0).removesuffix("_0")
    return note_of(route).get("mark") == ownership_mark(environment) or str(route.get("@id", "")).startswith(prefix)


def digest(route: JsonRoute) -> str:
    """Over everything but the digest itself."""
    bare: JsonRoute = msgspec.json.decode(msgspec.json.encode(route))
    note_of(bare).pop("digest", None)
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:32]


def let_in(routes: list[JsonRoute], name: str) -> Accounts:
    """Whom the component's route lets in by a password."""
    found = next((route for route in routes if is_of(route, name)), None)
    return accounts.standing(note_of(found), _handlers(found)) if found is not None else NOBODY


def placed(routes: list[JsonRoute], ref: ComponentRef, made: JsonRoute, host: str) -> list[JsonRoute]:
    """The routes with this one where it stood, or at first before all others, which may take every host.

    Raises Terminal if the host is another's. One of an earlier incarnation of the component is served over, until it is
    removed.
    """
    earlier = physical_name(ref.environment, ref.component, ref.incarnation).removesuffix(str(ref.incarnation))
    for route in routes:
        name = str(note_of(route).get("name") or route.get("@id", ""))
        if name.startswith(earlier) and name.removeprefix(earlier).isdigit():
            continue
        if host in _hosts(route):
            whose = "another component's" if note_of(route) else "one that the twin did not make"
            raise Terminal(
                f"The host {host} is taken: a route there is {whose}{f' ({name})' if name else ''}.",
                field="host",
                mend="Give the route another host, or remove the other route first; then: twin retry",
            )
    places = [index for index, route in enumerate(routes) if is_of(route, ref.name)]
    if not places:
        return [made, *routes]
    return [
        made if index == places[0] else route
        for index, route in enumerate(routes)
        if index == places[0] or index not in places
    ]


def _hosts(route: JsonRoute) -> set[str]:
    matchers = route.get("match")
    found: set[str] = set()
    for matcher in matchers if isinstance(matchers, list) else []:
        hosts = matcher.get("host") if isinstance(matcher, dict) else None
        # One that asks for more than the host, such as a path, has requests that are not ours.
        if isinstance(hosts, list) and len(matcher) == 1:
            found.update(str(each).lower() for each in hosts)
    return found


def _handlers(route: JsonRoute) -> list[dict[str, Any]]:
    handlers = route.get("handle")
    return [each for each in handlers if isinstance(each, dict)] if isinstance(handlers, list) else []


def _proxy(route: Route) -> dict[str, Any]:
    request: dict[str, Any] = {"delete": [doors.USER, *doors.DISGUISES]}  # nobody is known by that name
    if route.access == "basic":
        request["delete"].append("Authorization")  # it is for the door, not for the app
    if route.access == "token":
        request = doors.hidden()
    if route.secure:
        request["set"] = {"Host": ["{http.reverse_proxy.upstream.hostport}"]}
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": each} for each in route.to],
        "load_balancing": {
            "selection_policy": {"policy": "least_conn"},
            "try_duration": TRY_FOR,
            "try_interval": "100ms",
        },
        "health_checks": {
            "active": {"uri": route.health.path, "interval": f"{route.health.interval:g}s", "timeout": "5s"},
            "passive": {"fail_duration": "1s", "max_fails": 3},
        },
        **({"transport": {"protocol": "http", "tls": {}}} if route.secure else {}),
        "headers": {"request": request},
    }


def _nobody() -> dict[str, Any]:
    return {
        "handler": "static_response",
        "status_code": 503,
        "headers": {"Retry-After": ["5"]},
        "body": "Nothing runs behind this address now.\n",
    }
